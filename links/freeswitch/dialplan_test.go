package freeswitch

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

// Which extension bridges to telephones before the dialplan reads what clients set.
func TestBridgesFirst(t *testing.T) {
	const (
		reads   = `<extension name="features" continue="true"><condition field="${db(select/csta_dnd/${destination_number})}" expression="^true$"/></extension>`
		hash    = `<extension name="features"><condition><action application="set" data="to=${db(select/csta_forward_immediate/$1)}"/></condition></extension>`
		rings   = `<extension name="Local_Extension"><condition field="destination_number" expression="^(10[01][0-9])$"><action application="bridge" data="user/$1@${domain_name}"/></condition></extension>`
		groups  = `<extension name="group"><condition><action application="bridge" data="{timeout=5}user/1001@x,user/1002@x"/></condition></extension>`
		buzz    = `<extension name="extension-intercom"><condition field="destination_number" expression="^8(10[01][0-9])$"><action application="bridge" data="user/${dialed}@x"/></condition></extension>`
		strange = `<extension name="strange"><condition field="destination_number" expression="^(?(1)a)$"><action application="bridge" data="user/$1@x"/></condition></extension>`
		trunk   = `<extension name="out"><condition><action application="bridge" data="sofia/gateway/carrier/$1"/></condition></extension>`
	)
	for _, tt := range []struct{ context, says string }{
		{reads + rings, ""}, {hash + rings, ""}, {trunk + reads + rings, ""}, {trunk, ""}, {"", ""}, {reads, ""},
		{rings + reads, "too late Local_Extension"}, {groups + rings + hash, "too late group"}, {rings + trunk, "does not read Local_Extension"},
		{buzz + reads + rings, ""}, {strange + reads + rings, ""}, {buzz + rings + reads, "too late Local_Extension"}, {buzz, "does not read extension-intercom"},
		{"can't find anything\n", ""}, {"<context", ""}, {strings.Repeat("<a>", 1000), ""},
	} {
		var log strings.Builder
		l, err := NewLink(LinkConfig{Domain: "pbx.test", Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		l.devices = map[string]bool{"1001": true}
		l.judge(bridgesFirst(strings.NewReader(`<context name="default">` + tt.context + `</context>`)))
		said := ""
		if m := regexp.MustCompile(`(too late|does not read).* extension=(\S+)`).FindStringSubmatch(log.String()); m != nil {
			said = m[1] + " " + m[2]
		}
		if said != tt.says {
			t.Errorf("%s: %q, not %q", tt.context, log.String(), tt.says)
		}
	}
}

// The link says which of its domains FreeSWITCH does not have, and nothing if FreeSWITCH does not say.
func TestDomainExists(t *testing.T) {
	for reply, says := range map[string]bool{"false": true, "true": false, "-ERR permission denied": false, "-ERR domain_exists Command not found!": false} {
		var log strings.Builder
		tr := newTrial(t, LinkConfig{Domains: []string{"other.test"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		tr.answer = reply
		if err := tr.link.examine(tr.link.socket); err != nil {
			t.Fatal(err)
		}
		tr.settle()
		for _, domain := range []string{"pbx.test", "other.test"} {
			if got := strings.Contains(log.String(), "does not have the domain: calls to its telephones fail\" domain="+domain); got != says {
				t.Errorf("%s: %s", reply, log.String())
			}
		}
	}
}
