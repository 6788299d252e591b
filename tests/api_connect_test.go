package tests

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// status names each application of api.connect, and why it is not connected; an application that is down is no client, so it
// opens no sessions.
func TestStatusOfApplications(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	a := administer(t, `grants: [{who: crm, observe: ["*"]}]
api: {connect: [{url: "ws://`+address+`/calls?key=secret", as: crm, devices: ["1000"]}]}
`)
	var out string
	shows := func(what ...string) func() bool {
		return func() bool {
			out = a.admin(0, "status")
			for _, w := range what {
				if !strings.Contains(out, w) {
					return false
				}
			}
			return true
		}
	}
	waitFor(t, "an application that is down", shows("APPLICATION", "ws://"+address+"/calls", "crm", "not connected", "connection refused"))
	waitFor(t, "three attempts", func() bool { return strings.Count(a.out.String(), "not connected to the application") >= 3 })
	if said := a.out.String(); strings.Contains(said, "session opened") || strings.Contains(out+said, "secret") {
		t.Errorf("%s\n%s", out, said)
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		for err == nil {
			_, _, err = conn.Read(t.Context())
		}
	})}
	go func() { defer close(ended); _ = server.Serve(l) }()
	defer func() { _ = server.Close(); <-ended }()
	waitFor(t, "an application that is up", func() bool { return shows("connected", "2 sessions,")() && !strings.Contains(out, "not connected") })
}
