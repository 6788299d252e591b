package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/tr87"
)

const good = `
sip:
  listen: [{transport: tcp, address: "127.0.0.1:5062"}]
grants: [{who: "sip:alice@contoso.com", control: ["100"]}]
switch: {extensions: [{number: "100"}]}
`

// noSIP is a good file without the key sip.
const noSIP = `
grants: [{who: crm, control: ["100"]}]
switch: {extensions: [{number: "100"}]}
`

// withSwitch is a good file with more keys of the switch.
func withSwitch(keys string) string {
	return strings.Replace(good, "{extensions: [{number: \"100\"}]}", "{extensions: [{number: \"100\"}], "+keys+"}", 1)
}

func TestGood(t *testing.T) {
	c, err := config.Parse("x", []byte(good+"log: {level: debug}\n"), daemon.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	if c.Log.Level != "debug" || c.Log.Format != "text" || c.Front("sip").(*tr87.FrontSettings).SessionExpires != 30*time.Minute || c.Switch.Extensions[0].Number != "100" {
		t.Errorf("%+v", c)
	}
}

// The complete example must be without faults, and must name every key.
func TestExampleIsComplete(t *testing.T) {
	data, err := os.ReadFile("../../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Parse("config.example.yaml", data, daemon.Kinds()); err != nil {
		t.Error(err)
	}
	lines := config.LinesOf("config.example.yaml", data, daemon.Kinds())
	for _, key := range config.Keys(daemon.Kinds()) {
		name := key[strings.LastIndexByte(key, '.')+1:]
		if _, ok := lines[key]; !ok && !regexp.MustCompile(`#.*\b`+name+`:`).Match(data) {
			t.Errorf("the example has no %s", key)
		}
	}
}

// The administrator of a proxy needs its socket also while the file has faults.
func TestAdminSocket(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	for content, want := range map[string]string{
		good + "admin: {socket: s}":                     "s",
		good + "admin: {socket: s}\nlog: {level: loud}": "s",
		good + "admin: {socket: s}\nheartbeat: soon":    "s",
		"nonsense: 1\nadmin: {socket: s, mode: [1]}":    "s",
		good:                       "",
		good + "heartbeat: soon":   "heartbeat",
		good + "admin: {socket: s": "(file)",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		socket, err := config.AdminSocket(file, daemon.Kinds())
		if err != nil && (want == "" || !strings.Contains(err.Error(), ": "+want+": ")) || err == nil && socket != want {
			t.Errorf("%s: %q, %v", content, socket, err)
		}
	}
	if _, err := config.AdminSocket(file+".none", daemon.Kinds()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestDefaultListeners(t *testing.T) {
	for yaml, want := range map[string]string{
		"":                                  "udp :5062 tcp :5062",
		"sip: {listen: [{transport: tcp}]}": "tcp :5062",
		"sip: {listen: [{transport: udp, address: 10.1.2.3}]}":                                         "udp 10.1.2.3:5062",
		"sip: {listen: [{transport: tls, address: \"::1\", certificate: c, key: k}]}":                  "tls [::1]:5063",
		"sip: {listen: [{transport: tls, address: \"[::1]:5061\", certificate: c, key: k}]}":           "tls [::1]:5061",
		"sip: {listen: [{transport: tcp, address: localhost}, {transport: udp, address: \":15062\"}]}": "tcp localhost:5062 udp :15062",
	} {
		c, err := config.Parse("x", []byte("grants: [{who: a, control: [\"1\"]}]\n"+yaml), daemon.Kinds())
		if err != nil {
			t.Errorf("%s: %v", yaml, err)
			continue
		}
		var got []string
		for _, l := range c.Front("sip").(*tr87.FrontSettings).Listen {
			got = append(got, l.Transport, l.Address)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", yaml, got, want)
		}
	}
}

const freeSWITCH = "links: [{name: fs, type: freeswitch, addresses: [a], devices: [\"*\"], domain: a, session: {password: x}, "

func TestFaults(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{good + "logg: {}", "x:6: logg: unknown key; did you mean log?"},
		{good + "zzzzzz: {}", "x:6: zzzzzz: unknown key; known here:"},
		{good + "log:\n  level: loud", "x:7: log.level: is \"loud\"; write one of: debug, info, warn, error"},
		{good + "log: loud", "x:6: log: must have keys below it"},
		{good + "limits: {sessions: many}", "x:6: limits.sessions: must be a whole number"},
		{good + "limits: {strangers-mib: 9999999999999}", "x:6: limits.strangers-mib: must be a number of MiB; write 1 to 1048576"},
		{good + "trace: {max-mib: -1}", "x:6: trace.max-mib: must be a number of MiB; write 1 to 1048576, or 0 for no trace"},
		{good + "trace: {octets-mib: -1}", "x:6: trace.octets-mib: must be a number of MiB; write 1 to 1048576, or 0 for no octets"},
		{good + "trace: {octets-mib: 1, hep: {address: \"homer:9060\"}}", "x:6: trace.hep.address: is not udp:host:port; write for example udp:homer.example:9060"},
		{good + "trace: {hep: {address: \"udp:homer:9060\"}}", "x:6: trace.hep.address: needs the octets; write for example octets-mib: 8 under trace"},
		{good + "trace: {file-mib: 0}", "x:6: trace.file-mib: must be a number of MiB; write 1 to 1048576"},
		{good + "trace: {keep: -1}", "x:6: trace.keep: must be a number of files; write 0 to 1000"},
		{good + "trace: {max-mib: 0, file: t}", "x:6: trace.file: needs the trace; write for example max-mib: 8 under trace"},
		{good + "trace: {records: 5}", "x:6: trace.records: must be at least 100; write 0 as trace.max-mib for no trace"},
		{good + "audit: {max-mib: 0}", "x:6: audit.max-mib: must be a number of MiB; write 1 to 1048576"},
		{good + "limits: {sessions: 0}", "x:6: limits.sessions: must be a number greater than 0"},
		{good + "digest: {md5: maybe}", "x:6: digest.md5: must be true or false"},
		{good + "trusted: 10.0.0.1", "x:6: trusted: must be a list"},
		{good + "trusted: [{address: ten}]", "x:6: trusted[0].address: is neither"},
		{good + "trusted: [{}]", "x:6: trusted[0]: write either"},
		{good + "numbers: {main: \"425\"}", "x:6: numbers.main: must be + and digits"},
		{good + "operations: {address: \"0.0.0.0:9062\"}", "x:6: operations.address: must be on loopback"},
		{good + "a: [", "x:6: (file):"},
		{strings.Replace(good, "5062\"", "5062\", key: k", 1), "x:3: sip.listen[0].key: is for transports tls and dtls only"},
		{strings.Replace(good, "transport: tcp", "transport: tls", 1), "x:3: sip.listen[0]: transport tls needs certificate and key"},
		{strings.Replace(good, "127.0.0.1:5062", "5062", 1), "x:3: sip.listen[0].address: is neither host:port nor an address"},
		{strings.Replace(good, "127.0.0.1:5062", "127.0.0.1:65536", 1), "x:3: sip.listen[0].address: has a port that is no number from 0 to 65535"},
		{strings.Replace(good, "127.0.0.1:5062", "127.0.0.1:sip", 1), "x:3: sip.listen[0].address: has a port that is no number"},
		{strings.Replace(good, `listen: [`, `listen: [{transport: udp, address: "127.0.0.1:5062"}, {transport: tls, address: "127.0.0.1:5062", certificate: c, key: k}, `, 1), "x:3: sip.listen[2].address: is that of sip.listen[1].address, too"},
		{good + "telephones: {listen: [{transport: tcp, address: \"127.0.0.1:5062\"}]}", "x:6: telephones.listen[0].address: is that of sip.listen[0].address, too"},
		{strings.Replace(good, "listen:", "session-expires: soon\n  listen:", 1), "x:3: sip.session-expires: must be a time such as"},
		{strings.Replace(good, "listen:", "min-se: 30s\n  listen:", 1), "x:3: sip.min-se: must be at least 90s"},
		{strings.Replace(good, "number: \"100\"", "number: \"1 0\"", 1), "x:5: switch.extensions[0].number: must be 1 to 20 digits"},
		{strings.Replace(good, "{number: \"100\"}", "{number: \"100\"}, {number: \"100\"}", 1), "x:5: switch.extensions[1].number: is the number of another device"},
		{good + "xml: {listen: [{transport: udp}]}", "x:6: xml.listen[0].transport: is \"udp\"; write one of: tcp, tls"},
		{good + "xml: {listen: [{transport: tcp, key: k}]}", "x:6: xml.listen[0].key: is for transports tls and dtls only"},
		{good + "xml: {max-connections: 0}", "x:6: xml.max-connections: must be a number greater than 0"},
		{good + "links: [{name: switch, addresses: [\"a:1\"], devices: [\"*\"]}]", "x:6: links[0].name: must be a name that no other link has"},
		{good + "links: [{name: pbx, addresses: ['a b'], devices: [\"[\"]}]", "x:6: links[0].addresses[0]: is neither host nor host:port"},
		{good + "links: [{name: pbx, addresses: [\"a:1\"], devices: [\"[\"]}]", "x:6: links[0].devices[0]: is not a valid pattern"},
		{strings.Replace(good, "control: [\"100\"]", "observe: [\"100\"], dial: [\"+1*\"]", 1), "x:4: grants[0].dial: limits where devices in control may call"},
		{good + "console: {idle: 0s, hosts: [\"pbx:1\"], max-connections: 0}", "x:6: console.hosts[0]: must be a name without port"},
		{strings.Replace(good, "{who: \"sip:alice@contoso.com\"", "{who: \"*\", administer: true", 1), "x:4: grants[0].administer: would let everybody administer"},
		{good + "links: [{name: pbx}]", "x:6: links[0].addresses: must name at least one address"},
		{good + "links: [{name: pbx, addresses: [\"a:1\"], devices: [\"*\"], ca: x}]", "x:6: links[0].ca: needs TLS; write tls: true"},
		{good + "links: [{name: pbx, addresses: [\"a:1\"], devices: [\"*\"], edition: 1}]", "x:6: links[0].edition: must be 2 to 9"},
		{good + "asn1: {listen: [{transport: tcp}]}", "x:6: asn1.listen[0].dialect: is \"\"; write one of: phase3, hipath, phase1"},
		{good + "asn1: {listen: [{transport: udp, dialect: phase1}]}", "x:6: asn1.listen[0].transport: is \"udp\""},
		{good + "asn1: {listen: [{transport: tcp, dialect: hipath, notify: 3333}]}", "x:6: asn1.listen[0].notify: is a UDP port, for dialect phase1 only"},
		{good + "xml: {listen: [{transport: tcp, notify: 3333}]}", "x:6: xml.listen[0].notify: is for asn1.listen only"},
		{good + "links: [{name: pbx, type: csta-asn1, addresses: [a], devices: [\"*\"]}]", "x:6: links[0].dialect: is \"\"; write one of: phase3, hipath, phase1"},
		{good + "links: [{name: pbx, type: csta-asn1, dialect: phase1, addresses: [a], devices: [\"*\"], session: {user: a, password: b}}]", "x:6: links[0].session: is not for dialect phase1"},
		{good + "links: [{name: pbx, type: csta-asn1, dialect: hipath, addresses: [a], devices: [\"*\"], notifications: \":3333\"}]", "x:6: links[0].notifications: is for type csta-asn1 and dialect phase1 only"},
		{good + "links: [{name: pbx, type: csta-asn1, dialect: hipath, addresses: [a], devices: [\"*\"], edition: 4}]", "x:6: links[0].edition: is not for type csta-asn1"},
		{good + "links: [{name: pbx, addresses: [a], devices: [\"*\"], manager: a}]", "x:6: links[0].manager: is for type ctserver only"},
		{good + "links: [{name: pbx, type: tin, addresses: [a], devices: [\"*\"]}]", "x:6: links[0].type: is \"tin\"; write one of: csta-xml, csta-asn1, freeswitch, ctserver, phones"},
		{good + "links: [{name: pbx, type: tin, adresses: [a], devices: [\"*\"]}]", "x:6: links[0].type: is \"tin\"; write one of: csta-xml"},
		{good + "links: [{name: pbx, adresses: [a], devices: [\"*\"]}]", "x:6: links[0].adresses: unknown key; did you mean addresses?"},
		{good + "links:\n- {name: pbx, addresses: [a], devices: [\"*\"]}\n- name: fs\n  session: {password: x, duration: 1h}\n  type: freeswitch", "x:9: links[1].session.duration: is not for type freeswitch"},
		{good + "links: [{name: t, type: phones, addresses: [a]}]", "x:6: links[0].addresses: is not for type phones: telephones come to listen"},
		{good + "links: [{name: c, type: ctserver, addresses: [a], tls: true, ports: [{number: \"1\", port: 1}]}]", "x:6: links[0].tls: is not for type ctserver"},
		{good + "links: [{name: c, type: ctserver, addresses: [a], ports: [{number: \"1\", port: 1}], numbers: {out: [{match: \"(\"}]}}]", "x:6: links[0].numbers.out[0]: "},
		{good + "links: [{name: pbx, addresses: [a], devices: [\"*\"], accounts: [{number: \"1\"}]}]", "x:6: links[0].accounts: is for type phones only"},
		{good + "links: [{name: pbx, addresses: [a], devices: [\"*\"], session: {pass: x}}]", "x:6: links[0].session.pass: unknown key"},
		{good + "links: [{name: c, type: ctserver, addresses: [\"a:1200\"], ports: [{number: \"201\", port: 1}]}]", "x:6: links[0].addresses: must name one host, without port"},
		{good + "links: [{name: c, type: ctserver, addresses: [a]}]", "x:6: links[0].ports: must say which card ports"},
		{good + "links: [{name: c, type: ctserver, addresses: [a], ports: [{number: x, port: 0}]}]", "x:6: links[0].ports[0].port: must be the number of the card port"},
		{good + "links: [{name: c, type: ctserver, addresses: [a], ports: [{number: \"1\", port: 1}], flash: {hold: \"a b\"}}]", "x:6: links[0].flash.hold: may hold digits"},
		{good + "links: [{name: fs, type: freeswitch, addresses: [a], devices: [\"*\"], session: {password: x}}]", "x:6: links[0].domain: must be the domain of its directory"},
		{good + "links: [{name: fs, type: freeswitch, addresses: [a], devices: [\"*\"], domain: a}]", "x:6: links[0].session: must have the password of the event socket: write password or password-file"},
		{good + "links: [{name: fs, type: freeswitch, addresses: [a], devices: [\"*\"], domain: a, context: \"a b\", session: {password: x}}]", "x:6: links[0].context: must be one word"},
		{good + "links: [{name: fs, type: freeswitch, addresses: [a], devices: [\"*\"], domain: a, session: {user: \"u x\", password: x}}]", "x:6: links[0].session.user: must be one word"},
		{good + "links: [{name: pbx, addresses: [a], devices: [\"*\"], domain: a}]", "x:6: links[0].domain: is for type freeswitch only"},
		{good + "links: [{name: pbx, addresses: [a], devices: [\"*\"], messages: {folder: /a}}]", "x:6: links[0].messages: is for type freeswitch only"},
		{good + freeSWITCH + "answer: shout}]", "x:6: links[0].answer: is \"shout\"; write one of: talk, keys, auto-answer"},
		{good + freeSWITCH + "outside: sofia/gateway/x}]", "x:6: links[0].outside: must be a dial string with {number} in it"},
		{good + freeSWITCH + "outside: \"sofia/gateway/x/{number}${a}\"}]", "x:6: links[0].outside: must be a dial string with {number} in it, and without ${"},
		{good + freeSWITCH + "auto-answer: \"yes\"}]", "x:6: links[0].auto-answer: must be channel variables, such as sip_auto_answer=true"},
		{good + freeSWITCH + "trunk-prefix: \"0\", queues: {prefix: \"0\"}}]", "x:6: links[0].trunk-prefix: must differ from queues.prefix"},
		{good + "links: [{name: pbx, addresses: [\"a:65536\"], devices: [\"*\"]}]", "x:6: links[0].addresses[0]: has port \"65536\"; write one from 1 to 65535"},
		{good + "links: [{name: pbx, addresses: [a], devices: [\"*\"], domain: a}]", "x:6: links[0].domain: is for type freeswitch only; write type: freeswitch"},
		{good + freeSWITCH + "queues: {prefix: \"0 2\"}}]", "x:6: links[0].queues.prefix: must be one word"},
		{good + freeSWITCH + "queues: {numbers: [\"/9[/\"]}}]", "x:6: links[0].queues.numbers[0]: "},
		{good + freeSWITCH + "messages: {recordings: rec}}]", "x:6: links[0].messages.recordings: must be an absolute path on FreeSWITCH's host, without blanks"},
		{good + freeSWITCH + "messages: {named: [{name: a, play: \"a b\"}]}}]", "x:6: links[0].messages.named[0]: must have a name, and play, without blanks"},
		{good + "heartbeat: 0s", "x:6: heartbeat: must be longer than 0s"},
		{good + "telephones: {media: {elsewhere: [192.0.2.1, nowhere]}}", "x:6: telephones.media.elsewhere[1]: must be a network or an address"},
		{strings.Replace(good, "number: \"100\"", "number: \"100\", kind: tin", 1), "x:5: switch.extensions[0].kind: is \"tin\"; write one of: sip"},
		{withSwitch("hunt-groups: [{number: \"200\", members: [\"100\", \"101\"]}]"), "x:5: switch.hunt-groups[0].members[1]: is not an extension"},
		{withSwitch("hunt-groups: [{number: \"200\", members: [\"100\", \"100\"]}]"), "switch.hunt-groups[0].members[1]: is there twice"},
		{strings.Replace(good, "{number: \"100\"}", "{number: \"100\", second-numbers: [\"150\", \"100\"]}", 1), "switch.extensions[0].second-numbers[1]: is the number of another device"},
		{strings.Replace(good, "{number: \"100\"}", "{number: \"100\", second-numbers: [\"101\"]}, {number: \"101\"}", 1), "switch.extensions[1].number: is the number of another device"},
		{strings.Replace(good, "{number: \"100\"}", "{number: \"100\", second-numbers: [\"+49\"]}", 1), "switch.extensions[0].second-numbers[0]: must be 1 to 20 digits"},
		{withSwitch("hunt-groups: [{number: \"100\"}]"), "switch.hunt-groups[0].number: is the number of another device"},
		{withSwitch("hunt-groups: [{number: \"200\", order: odd}]"), "switch.hunt-groups[0].order: is \"odd\""},
		{withSwitch("queues: [{number: \"300\", wrap-up: -1s}]"), "switch.queues[0].wrap-up: must not be negative"},
		{withSwitch("queues: [{number: \"300\", agents: [{id: a}, {id: a}]}]"), "switch.queues[0].agents[1].id: must be an id that no other agent has"},
		{withSwitch("queues: [{number: \"300\", agents: [{id: a, password: x, password-file: y}]}]"), "switch.queues[0].agents[0]: has both password and password-file"},
		{withSwitch("trunks: [{number: \"900\", prefixes: [zero]}]"), "switch.trunks[0].prefixes[0]: must be digits"},
		{withSwitch("trunks: [{number: \"900\", inward: [{number: \"1\", to: \"7\"}]}]"), "switch.trunks[0].inward[0].to: is not a device"},
		{withSwitch("trunks: [{number: \"900\", inward: [{number: \"1\", to: \"900\"}]}]"), "switch.trunks[0].inward[0].to: is a trunk, a park device or a pickup group"},
		{withSwitch("park: [\"400\"], trunks: [{number: \"900\", inward: [{number: \"1\", to: \"400\"}]}]"), "switch.trunks[0].inward[0].to: is a trunk, a park device or a pickup group"},
		{withSwitch("trunks: [{number: \"900\", inward: [{number: \"1\", to: \"100\"}, {number: \"1\", to: \"100\"}]}]"), "switch.trunks[0].inward[1].number: is there twice"},
		{withSwitch("park: [here]"), "switch.park[0].number: must be 1 to 20 digits"},
		{withSwitch("park: [{number: \"400\", music: jazz}]"), "switch.park[0].music: is a file of telephones.messages, which is empty"},
		{withSwitch("queues: [{number: \"300\", announcement: wait}]"), "switch.queues[0].announcement: is a file of telephones.messages, which is empty"},
		{withSwitch("park: [{number: \"400\", sound: jazz}]"), "switch.park[0].sound: unknown key"},
		{withSwitch("pickup-groups: [{number: \"500\", members: [\"7\"]}]"), "switch.pickup-groups[0].members[0]: is not an extension"},
		{withSwitch("routeing: [{number: \"600\"}]"), "switch.routeing[0].default: must be the number of another device"},
		{extension(`sip: {}`), "x:5: switch.extensions[0].sip: write either password or password-file"},
		{extension(`sip: {password: x}, kind: virtual`), "x:5: switch.extensions[0].sip: is not for kind virtual"},
		{extension(`sip: {password: x}, answer-after: 1s`), "x:5: switch.extensions[0]: has answer-after or busy, which are for virtual phones"},
		{extension(`sip: {password: x, user: "a b"}`), "x:5: switch.extensions[0].sip.user: must not contain a space"},
		{extension(`sip: {password: x, pass: y}`), "x:5: switch.extensions[0].sip.pass: unknown key"},
		{extension(`outside: [all]`), "x:5: switch.extensions[0].outside[0]: must be digits"},
		{withSwitch("trunks: [{number: \"900\", sip: {uri: \"192.0.2.9\"}}]"), "switch.trunks[0].sip.uri: must be the address of the peer"},
		{withSwitch("trunks: [{number: \"900\", sip: {uri: \"sip:192.0.2.9\", register: true}}]"), "switch.trunks[0].sip: has register, which needs an account"},
		{withSwitch("trunks: [{number: \"900\", sip: {uri: \"sip:192.0.2.9\", qualify: 10ms}}]"), "switch.trunks[0].sip.qualify: must be 1s or more"},
		{withSwitch("trunks: [{number: \"900\", sip: {uri: \"sip:192.0.2.9\", called-from: \"the header\"}}]"), "switch.trunks[0].sip.called-from: must be request-uri, to"},
		{withSwitch("trunks: [{number: \"900\", sip: {uri: \"sip:192.0.2.9\", caller-from: [from, to]}}]"), "switch.trunks[0].sip.caller-from[1]: "},
		{withSwitch("trunks: [{number: \"900\", sip: {uri: \"sip:192.0.2.9\", caller-from: [from, from]}}]"), "switch.trunks[0].sip.caller-from[1]: is there twice"},
		{withSwitch("trunks: [{number: \"900\", sip: {uri: \"sip:192.0.2.9\", shows: [to]}}]"), "switch.trunks[0].sip.shows[0]: "},
		{withSwitch("trunks: [{number: \"900\", sip: {uri: \"sip:192.0.2.9\", site-number: main}}]"), "switch.trunks[0].sip.site-number: must be digits"},
		{good + "telephones: {media: {ports: 1-2}}", "x:6: telephones.media.ports: must be a range of four ports"},
		{good + "telephones: {media: {address: here}}", "x:6: telephones.media.address: must be an IP address"},
		{good + "telephones: {listen: [{transport: dtls}]}", "x:6: telephones.listen[0].transport: is \"dtls\""},
		{good + "telephones: {digest: [SHA1]}", "x:6: telephones.digest[0]: is \"SHA1\""},
		{good + "telephones: {max-expires: 10s}", "x:6: telephones.max-expires: must not be shorter"},
		{good + "telephones: {qualify: 1ms}", "x:6: telephones.qualify: must be 1s or more"},
		{good + "grants: []", "x:6: grants: is there twice"},
		{"demo: true", "x:1: sip.listen[0].address: must be on loopback, because demo mode"},
		{"sip: {listen: [{transport: tcp, address: \"127.0.0.1:5062\"}]}", "x:1: grants: is empty, and so is rules"},
		{"demo: true\nsip: {listen: [{transport: tcp, address: \"0.0.0.0:5062\"}]}", "x:2: sip.listen[0].address: must be on loopback, because demo mode"},
		{good + "digest: {users: [{name: a}]}", "x:6: digest.users[0]: write either password or password-file"},
		{strings.Replace(good, "control: [\"100\"]", "control: [\"[\"]", 1), "x:4: grants[0].control[0]: is not a valid pattern"},
	} {
		_, err := config.Parse("x", []byte(tt.yaml), daemon.Kinds())
		var faults config.Faults
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\n got %v\nwant %s", tt.yaml, err, tt.want)
		}
	}
	if _, err := config.Parse("x", []byte("a: &x [*x]"), daemon.Kinds()); err == nil {
		t.Error("an alias passes")
	}
}

// What an administrator may expect and does not get is said, without being a fault.
func TestWarnings(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{good, ""},
		{withSwitch(`trunks: [{number: "900", prefixes: ["0"]}]`), "switch.trunks[0].inward: incoming calls of trunk 900 reach no device"},
		{strings.Replace(withSwitch("park: []"), `{number: "100"}`, `{number: "100", sip: {password: x, srtp: required}}`, 1), "switch.extensions[0].sip.srtp: required, but no listener of telephones has transport tls"},
		{strings.Replace(withSwitch("park: []"), `{number: "100"}`, `{number: "100", sip: {password: x, srtp: preferred}}`, 1), ""},
		{withSwitch(`trunks: [{number: "900", inward: []}]`), ""},
		{withSwitch(`trunks: [{number: "900", inward: [{number: "5550100", to: "100"}]}]`), ""},
		{withSwitch(`queues: [{number: "300", overflow: "0170123"}], trunks: [{number: "900", prefixes: ["0"], inward: []}]`), "switch.queues[0].overflow: 0170123 leads outside"},
		{withSwitch(`queues: [{number: "300", overflow: "100"}], trunks: [{number: "900", prefixes: ["1"], inward: []}]`), ""},
		{withSwitch(`routeing: [{number: "600", default: "0170123"}], trunks: [{number: "900", prefixes: ["0"], inward: []}]`), "switch.routeing[0].default: 0170123 leads outside"},
		{good + "audit: {file: /no/such/audit.log}", "audit.file: directory /no/such does not exist; the proxy"},
		{good + "audit: {file: " + t.TempDir() + "}", "audit.file: "},
		{good + "admin: {socket: /no/such/admin.sock}", "admin.socket: directory /no/such does not exist; the proxy"},
		{good + "admin: {socket: " + t.TempDir() + "/admin.sock}", ""},
		{good + "admin: {socket: " + t.TempDir() + "/admin.sock, mode: \"0000\"}", "admin.mode: with 0000 only root"},
		{good + "admin: {socket: " + t.TempDir() + "/admin.sock, mode: \"0666\"}", "admin.mode: with 0666 every user"},
		{good + "admin: {socket: " + t.TempDir() + "/admin.sock, mode: \"0660\"}", ""},
		{good + "limits: {queue-mib: 8, queues-mib: 4}", "limits.queues-mib: 4 for all clients is less"},
		{good + "xml: {max-connections: 10, max-connections-per-peer: 11}", "xml.max-connections-per-peer: 11 is more than xml.max-connections, which is 10"},
		{good + "asn1: {max-connections: 10}", ""},
		{good + "telephones: {state: /no/such/telephones.db}", "telephones.state: directory /no/such does not exist; the proxy"},
		{good + "api: {events: {file: /no/such/events.db}}", "api.events.file: directory /no/such does not exist; the proxy"},
		{good + "api: {events: {file: /dev/null/events.db}}", "api.events.file: "},
		{good + "api: {events: {file: " + t.TempDir() + "/events.db}}", ""},
		{good + `api: {connect: [{url: "wss://crm.contoso.com/", as: crm, token-file: /no/such/token}]}`, "api.connect[0].token-file: open /no/such/token: no such file or directory; the proxy cannot connect"},
		{good + `api: {connect: [{url: "wss://crm.contoso.com/", as: crm}]}`, ""},
		{good + `api: {listen: [{transport: tcp, address: "127.0.0.1"}, {transport: tcp, address: "0.0.0.0:8880"}]}`, "api.listen[1].transport: tcp at 0.0.0.0:8880: everybody on the way can read passwords and tokens"},
		{good + `api: {listen: [{transport: tcp, address: "[::1]:8880"}]}`, ""},
		{noSIP + `api: {listen: [{transport: tcp, address: "[::1]:8880"}]}`, "sip: the file does not have this key, so its default listens at udp :5062 and tcp :5062; write sip: {listen: []} if"},
		{noSIP + "sip: {min-se: 100s}\n" + `api: {listen: [{transport: tcp, address: "[::1]:8880"}]}`, ""},
		{noSIP + "sip: {listen: []}\n" + `api: {listen: [{transport: tcp, address: "[::1]:8880"}]}`, ""},
		{noSIP, ""},
		{noSIP + "sip: {listen: []}", "sip.listen: no front has a listener, so no client can connect"},
		{strings.Replace(good, `switch: {extensions: [{number: "100"}]}`, "", 1), "switch: there are neither devices here nor links"},
		{strings.Replace(good, `switch: {extensions: [{number: "100"}]}`, `links: [{name: pbx, addresses: ["pbx:8882"], devices: ["*"]}]`, 1), ""},
		{strings.Replace(good, `extensions: [{number: "100"}]`, `park: ["400"]`, 1), ""},
	} {
		c, err := config.Parse("x", []byte(tt.yaml), daemon.Kinds())
		if err != nil {
			t.Errorf("%s: %v", tt.yaml, err)
			continue
		}
		if got := strings.Join(c.Warnings(), "\n"); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s\n got %q\nwant %q", tt.yaml, got, tt.want)
		}
	}
}

// extension is a good configuration whose extension has more keys.
func extension(keys string) string {
	return strings.Replace(good, `number: "100"`, `number: "100", `+keys, 1)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = config.Parse("x", data, daemon.Kinds()) })
}

func TestModels(t *testing.T) {
	file := filepath.Join(t.TempDir(), "models.yaml")
	for text, want := range map[string]string{
		"models: [{name: a, agent: \"(\"}]":                   "models[0].agent: is not a regular expression of Go: error parsing regexp",
		"models: [{name: a}]":                                 "models[0].agent: must be a regular expression",
		"models: [{agent: x}]":                                "models[0].name: is missing",
		"models: [{name: a, agent: x, answer: {event: e}}]":   "models[0].answer: needs event, type and body",
		"models: [{name: a, agent: x, answers: {}}]":          "models[0].answers: unknown key; did you mean answer?",
		"models: [{name: a, agent: x, idle: gone}]":           "models[0].idle: is \"gone\"; write one of: none, terminated",
		"models: [{name: a, agent: x, line: [\"a={line}\"]}]": "models[0].line[0]: has {line}, which stands for nothing",
		"models: [{name: a, agent: x, requests: [dance]}]":    "models[0].requests[0]: is \"dance\"; write one of: makeCall, ",
		"models: [{name: a, agent: x, services: [dance]}]":    "models[0].services[0]: is \"dance\", which is no service; write a name as in GetCSTAFeatures",
		"models: [{name: a, agent: x}]":                       "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := config.Models(file)
		if want == "" && (err != nil || len(list) < 2 || list[0].Name != "a") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v %v", text, list, err)
		}
	}
}
