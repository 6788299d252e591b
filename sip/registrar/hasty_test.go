package registrar

import (
	"log/slog"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// hasty accepts a session and ends it at once.
type hasty struct{}

func (hasty) Invite(in *sip.Invitation) {
	m, err := uacsta.Parse(in.Body())
	if err != nil {
		return
	}
	status := uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, m.Edition())
	if d, err := in.Accept(hasty{}, sip.Answer{ContentType: "application/csta+xml", Body: status.Bytes()}); err == nil {
		d.Bye()
	}
}
func (hasty) Request(*sip.Dialog, *sip.Request) {}
func (hasty) Refresh() (string, []byte)         { return "", nil }
func (hasty) Ended(error)                       {}

// A session that ends before its beginning is known is none.
func TestSessionEndsAtOnce(t *testing.T) {
	s := aServer(t, 1)
	lines := make(lines, 10000)
	s.log = slog.New(slog.NewTextHandler(lines, nil))
	phone := sip.New(sip.Config{Handler: hasty{}})
	t.Cleanup(phone.Close)
	addr, err := phone.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	u := s.users["0"]
	b := &binding{contact: "sip:0@" + addr.String() + ";transport=tcp", static: true, expires: time.Now().Add(time.Hour)}
	u.bindings = []*binding{b}
	for round := range 50 {
		s.openSession(u, b)
		lines.await(t, "uaCSTA session closed", 1)
		if s.session(u) != nil {
			t.Fatalf("round %d: a session that has ended", round)
		}
	}
}
