package config_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/links/freeswitch"
	xmlfront "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
)

const cstaSocket = `<configuration name="csta_socket.conf" description="CSTA Interface">
  <settings>
    <param name="listen-ip" value="0.0.0.0"/>
    <param name="xml-listen-port" value="3001"/>
    <param name="apply-inbound-acl" value="csta"/>
    <param name="uacsta" value="b2bua
no"/>
    <param name="system-status-timer" value="30"/>
    <param name="dump-interval" value="60"/>
    <param name="dump-everything" value="sometimes"/>
  </settings>
</configuration>`

func TestImportCSTASocket(t *testing.T) {
	folder := fstest.MapFS{
		"csta_socket.conf.xml": {Data: []byte(cstaSocket)},
		"acl.conf.xml": {Data: []byte(`<configuration name="acl.conf"><network-lists>
			<list name="lan" default="allow"><node type="deny" cidr="10.9.0.0/16"/></list>
			<list name="csta" default="deny"><node type="allow" cidr="192.168.7.0/24"/><node type="deny" host="192.168.7.66" mask="255.255.255.255"/><node type="allow" domain="pbx"/></list>
			</network-lists></configuration>`)},
		"event_socket.conf.xml": {Data: []byte(`<configuration name="event_socket.conf"><settings>
			<param name="listen-ip" value="10.1.1.1"/><param name="listen-port" value="8024"/><param name="password" value="ClueCon"/></settings></configuration>`)},
	}
	out, err := config.ImportCSTASocket(folder, "csta_socket.conf.xml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("made.yaml", []byte(out.YAML), daemon.Kinds())
	if err != nil {
		t.Fatalf("%v\n%s", err, out.YAML)
	}
	link := c.Links[0].Settings.(*freeswitch.LinkSettings)
	if len(c.Trusted) != 1 || len(c.Addresses.Deny) != 1 || len(c.Addresses.Allow) != 0 {
		t.Fatalf("%v %+v", c.Trusted, c.Addresses)
	}
	if c.Heartbeat != 30*time.Second || c.Log.StatusInterval != time.Minute {
		t.Errorf("SystemStatus comes every %v, a summary every %v", c.Heartbeat, c.Log.StatusInterval)
	}
	got := []string{c.Front("xml").(*xmlfront.Settings).Listen[0].Address, c.Trusted[0].Address, c.Addresses.Deny[0], link.Addresses[0], link.Queues.Prefix, link.TrunkPrefix}
	if want := []string{"0.0.0.0:3001", "192.168.7.0/24", "192.168.7.66/32", "10.1.1.1:8024", "02", "01"}; !slices.Equal(got, want) {
		t.Errorf("%v is made, not %v", got, want)
	}
	notes := strings.Join(out.Notes, "\n")
	for _, want := range []string{`uacsta is "b2bua\nno": there is no such setting`, `dump-everything is "sometimes"`, `type "allow", domain "pbx"`, "everybody knows: change it", "links[0].domain", "csta_trigger_queue"} {
		if !strings.Contains(notes, want) {
			t.Errorf("nothing is said of %s:\n%s", want, notes)
		}
	}
	if strings.Contains(out.YAML+notes, "ClueCon") {
		t.Error("the password is shown")
	}
}

// What is not there, or wrong, is said, and nobody is let in whom the module did not.
func TestImportFaults(t *testing.T) {
	conf := func(params string) fstest.MapFS {
		return fstest.MapFS{"c.xml": {Data: []byte(`<configuration name="csta_socket.conf"><settings>` + params + `</settings></configuration>`)}}
	}
	for _, tt := range []struct {
		folder fstest.MapFS
		want   string // in the error, or in a note
		err    bool
	}{
		{fstest.MapFS{}, "c.xml", true},
		{fstest.MapFS{"c.xml": {Data: []byte("no xml")}}, "is no configuration of FreeSWITCH", true},
		{fstest.MapFS{"c.xml": {Data: []byte(`<configuration name="acl.conf"/>`)}}, `is the configuration "acl.conf"`, true},
		{fstest.MapFS{"c.xml": {Data: make([]byte, config.MaxFile+1)}}, "larger than 1 MiB", true},
		{conf(`<param name="listen-ip" value="lo"/>`), `listen-ip is "lo", not an IP address`, true},
		{conf(`<param name="xml-listen-port" value="0"/>`), `xml-listen-port is "0", not a port`, true},
		{conf(`<param name="listen-ip" value="$${local_ip_v4}"/>`), "a variable of FreeSWITCH's", false},
		{conf(`<param name="listen-ip" value="::"/>`), "let everybody in", false},
		{conf(`<param name="apply-inbound-acl" value="csta"/>`), `write the networks of the list "csta"`, false},
	} {
		out, err := config.ImportCSTASocket(tt.folder, "c.xml")
		switch {
		case tt.err && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%v, not %s", err, tt.want)
		case tt.err:
		case err != nil:
			t.Error(err)
		default:
			if !strings.Contains(strings.Join(out.Notes, "\n"), tt.want) {
				t.Errorf("%q, not %s", out.Notes, tt.want)
			}
			c, err := config.Parse("made.yaml", []byte(out.YAML), daemon.Kinds())
			want := []config.Peer{{Address: "127.0.0.1/32"}}
			if strings.Contains(tt.want, "csta") { // a list that is not there lets nobody in
				want = []config.Peer{}
			}
			if err != nil || !slices.Equal(c.Trusted, want) {
				t.Errorf("%v\n%s", err, out.YAML)
			}
		}
	}
}

func FuzzImportCSTASocket(f *testing.F) {
	f.Add([]byte(cstaSocket))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := config.ImportCSTASocket(fstest.MapFS{"c.xml": {Data: data}, "acl.conf.xml": {Data: data}, "event_socket.conf.xml": {Data: data}}, "c.xml")
		if err != nil {
			return
		}
		if _, err := config.Parse("made.yaml", []byte(out.YAML), daemon.Kinds()); err != nil {
			t.Errorf("%v\n%s", err, out.YAML)
		}
	})
}
