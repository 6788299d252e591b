package config

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// freeSWITCHConf is the part of FreeSWITCH's configuration files that import reads.
type freeSWITCHConf struct {
	XMLName xml.Name `xml:"configuration"`
	Name    string   `xml:"name,attr"`
	Params  []struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	} `xml:"settings>param"`
	Lists []aclList `xml:"network-lists>list"`
}

// Imported is a configuration made from that of another program.
type Imported struct {
	YAML  string
	Notes []string // settings that could not be converted, or that the administrator must complete
}

// ImportCSTASocket converts csta_socket.conf.xml, the configuration of FreeSWITCH's module
// mod_csta_socket. The result has a link to that FreeSWITCH, and a listener for the clients of the
// module. ImportCSTASocket also reads acl.conf.xml and event_socket.conf.xml in the same folder, if
// they exist.
func ImportCSTASocket(folder fs.FS, name string) (*Imported, error) {
	conf, err := readConf(folder, name)
	if err != nil {
		return nil, err
	}
	if conf.Name != "csta_socket.conf" {
		return nil, fmt.Errorf("%s: is the configuration %q, not csta_socket.conf", name, conf.Name)
	}
	out := &Imported{}
	host, port, acl := "127.0.0.1", "3000", ""
	heartbeat, summary := -1, -1
	for _, p := range conf.Params {
		switch {
		case strings.Contains(p.Value, "$${"):
			out.note("%s is %q, a variable of FreeSWITCH's: write its value", p.Name, p.Value)
		case p.Name == "listen-ip":
			if _, err := netip.ParseAddr(p.Value); err != nil {
				return nil, fmt.Errorf("%s: listen-ip is %q, not an IP address", name, p.Value)
			}
			host = p.Value
		case p.Name == "xml-listen-port":
			if n, err := strconv.ParseUint(p.Value, 10, 16); err != nil || n == 0 {
				return nil, fmt.Errorf("%s: xml-listen-port is %q, not a port", name, p.Value)
			}
			port = p.Value
		case strings.EqualFold(p.Name, "apply-inbound-acl"):
			acl = p.Value
		case strings.Contains(p.Name, "status") && seconds(p.Value) > 0:
			heartbeat = seconds(p.Value)
		case strings.Contains(p.Name, "dump") && seconds(p.Value) >= 0:
			summary = seconds(p.Value)
		default:
			out.note("%s is %q: there is no such setting here", p.Name, p.Value)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Made from %q. Programs find the same address and the same device numbers.\n\n", name)
	fmt.Fprintf(&b, "sip:\n  listen: [{transport: tcp, address: \"127.0.0.1:5062\"}]\n\nxml:\n  listen: [{transport: tcp, address: %q}]\n\n", net.JoinHostPort(host, port))
	if heartbeat > 0 {
		fmt.Fprintf(&b, "heartbeat: %ds   # SystemStatus to clients that register for it\n\n", heartbeat)
	}
	if summary >= 0 {
		fmt.Fprintf(&b, "log: {status-interval: %ds}   # a summary of clients and links\n\n", summary)
	}
	who := out.networks(folder, acl, host)
	if len(who.deny) > 0 {
		b.WriteString("# These may not even connect.\naddresses:\n  deny:\n")
		for _, network := range who.deny {
			fmt.Fprintf(&b, "    - %q\n", network)
		}
		b.WriteByte('\n')
	}
	b.WriteString("# Programs are known by their addresses, as the module knew them.\ntrusted:")
	if len(who.allow) == 0 {
		b.WriteString(" []")
	}
	b.WriteByte('\n')
	for _, network := range who.allow {
		fmt.Fprintf(&b, "  - address: %q\n", network)
	}
	b.WriteString("\n# The module let programs do everything, and call any number. Here they send no calls until\n# dial says where to: [\"1???\"] are numbers of four digits, [\"*\"] is any number.\n")
	b.WriteString("grants:\n  - who: \"*\"\n    observe: [\"*\"]\n    control: [\"*\"]\n    dial: []\n\n")
	fmt.Fprintf(&b, "links:\n  - name: freeswitch\n    type: freeswitch\n    addresses: [%q]\n    devices: [\"*\"]\n", out.eventSocket(folder))
	b.WriteString("    session: {password-file: /etc/tr87proxy/freeswitch.password}   # of event_socket.conf.xml\n")
	b.WriteString("    domain: pbx.example.com       # what fs_cli -x \"global_getvar domain\" says\n")
	b.WriteString("    queues: {prefix: \"02\"}        # numbers: those at which the dialplan has csta_wait\n    trunk-prefix: \"01\"\n")
	b.WriteString("    messages: {recordings: /var/lib/freeswitch/recordings}\n")
	out.note("links[0].domain: write the domain of your directory")
	out.note("/etc/tr87proxy/freeswitch.password: write the password of event_socket.conf.xml into it")
	out.note("the dialplan: put the application event in place of csta_trigger_queue, csta_trigger_trunk_inbound and csta_trigger_trunk_outbound, as docs/freeswitch.md says")
	out.YAML = b.String()
	return out, nil
}

// seconds parses an interval of the module, of at most a day. It returns -1 if it is none.
func seconds(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 24*3600 {
		return -1
	}
	return n
}

func (i *Imported) note(format string, args ...any) {
	i.Notes = append(i.Notes, fmt.Sprintf(format, args...))
}

// networks returns the networks that the module admitted and denied.
func (i *Imported) networks(folder fs.FS, acl, host string) access {
	if acl != "" {
		return i.access(folder, acl)
	}
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsLoopback() {
		i.note("trusted: the module let everybody in; write the addresses of your programs")
	}
	return access{allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

// eventSocket returns the address of FreeSWITCH's event socket.
func (i *Imported) eventSocket(folder fs.FS) string {
	host, port := "127.0.0.1", "8021"
	conf, err := readConf(folder, "event_socket.conf.xml")
	if err != nil {
		i.note("links[0].addresses: 127.0.0.1:8021 is what FreeSWITCH comes with: %v", err)
		return net.JoinHostPort(host, port)
	}
	for _, p := range conf.Params {
		switch ip, err := netip.ParseAddr(p.Value); {
		case p.Name == "listen-ip" && err == nil && !ip.IsUnspecified():
			host = ip.String()
		case p.Name == "listen-port":
			port = p.Value
		case p.Name == "password" && p.Value == "ClueCon":
			i.note("event_socket.conf.xml has the password that FreeSWITCH comes with, which everybody knows: change it")
		}
	}
	return net.JoinHostPort(host, port)
}

func readConf(folder fs.FS, name string) (*freeSWITCHConf, error) {
	info, err := fs.Stat(folder, name)
	if err == nil && info.Size() > maxFile {
		err = errors.New("the file is larger than 1 MiB")
	}
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(folder, name)
	if err != nil {
		return nil, err
	}
	var conf freeSWITCHConf
	if err := xml.Unmarshal(data, &conf); err != nil {
		return nil, fmt.Errorf("%s: is no configuration of FreeSWITCH: %w", name, err)
	}
	return &conf, nil
}
