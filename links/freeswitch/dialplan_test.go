package freeswitch

import (
	"strings"
	"testing"
)

// Which extension bridges to telephones before the dialplan reads what clients set.
func TestBridgesFirst(t *testing.T) {
	const (
		reads  = `<extension name="features" continue="true"><condition field="${db(select/csta_dnd/${destination_number})}" expression="^true$"/></extension>`
		hash   = `<extension name="features"><condition><action application="set" data="to=${db(select/csta_forward_immediate/$1)}"/></condition></extension>`
		rings  = `<extension name="Local_Extension"><condition><action application="bridge" data="user/$1@${domain_name}"/></condition></extension>`
		groups = `<extension name="group"><condition><action application="bridge" data="{timeout=5}user/1001@x,user/1002@x"/></condition></extension>`
		trunk  = `<extension name="out"><condition><action application="bridge" data="sofia/gateway/carrier/$1"/></condition></extension>`
	)
	for _, tt := range []struct {
		context, extension string
		later              bool
	}{
		{reads + rings, "", false}, {hash + rings, "", false}, {trunk + reads + rings, "", false},
		{rings + reads, "Local_Extension", true}, {groups + rings + hash, "group", true},
		{rings + trunk, "Local_Extension", false}, {trunk, "", false}, {"", "", false},
	} {
		extension, later := bridgesFirst(strings.NewReader(`<context name="default">` + tt.context + `</context>`))
		if extension != tt.extension || later != tt.later {
			t.Errorf("%s: %q %v, want %q %v", tt.context, extension, later, tt.extension, tt.later)
		}
	}
	for _, text := range []string{"can't find anything\n", "", "<context", strings.Repeat("<a>", 1000)} {
		if extension, later := bridgesFirst(strings.NewReader(text)); extension != "" || later {
			t.Errorf("%.20q: %q %v", text, extension, later)
		}
	}
}
