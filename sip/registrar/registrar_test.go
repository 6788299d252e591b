package registrar

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
)

// lines are those of a log.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// await waits for lines with such a text, so many.
func (l lines) await(t *testing.T, text string, n int) {
	t.Helper()
	enough := time.After(patience)
	for n > 0 {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				n--
			}
		case <-enough:
			t.Fatal("nobody has said", text)
		}
	}
}

// registering is a server, and a telephone that registers at it over TCP.
type registering struct {
	*Server

	t     *testing.T
	said  lines
	at    string
	phone *sip.UA
}

func registers(t *testing.T) *registering {
	t.Helper()
	r := &registering{t: t, Server: aServer(t, 3), said: make(lines, 10000), phone: sip.New(sip.Config{})}
	r.log = slog.New(slog.NewTextHandler(r.said, nil))
	addr, err := r.UA().ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.at = addr.String()
	t.Cleanup(r.phone.Close)
	return r
}

// register registers a number with the account of a user, and returns the code of the answer.
func (r *registering) register(number, user string) int {
	r.t.Helper()
	who := sip.UserURI(number, "127.0.0.1")
	res, err := r.phone.Request(r.t.Context(), "REGISTER", sip.Invite{
		To: who, From: who, Target: "sip:" + r.at + ";transport=tcp", Username: user, Password: "secret",
		Headers: []sip.Header{{Name: "Contact", Value: fmt.Sprintf("<sip:%s@127.0.0.1:9>", user)}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Code()
}

// A telephone that speaks for another has a rate, and a line a second; of what it says there is little
// in the log.
func TestSpeaksForAnother(t *testing.T) {
	r := registers(t)
	codes := map[int]int{}
	for n := 0; codes[503] == 0 && n < 10*paceBurst; n++ { // more than the burst, where they take their time
		codes[r.register(strings.Repeat("9", 1000), "0")]++
	}
	if codes[403] < paceBurst || codes[503] == 0 || len(codes) != 2 {
		t.Error(codes)
	}
	lines := len(r.said)
	for range lines {
		if line := <-r.said; len(line) > 600 {
			t.Error(line)
		}
	}
	if lines > paceBurst/2 {
		t.Error(lines, "lines")
	}
}

// Who has registered over a connection is known without a search when it is lost, and forgotten then.
func TestLostConnection(t *testing.T) {
	r := registers(t)
	for _, user := range []string{"0", "1"} {
		if code := r.register(user, user); code != 200 {
			t.Fatal(code)
		}
	}
	r.said.await(t, "reachable=true", 2)
	r.mu.Lock()
	for f, users := range r.flows {
		if len(users) != 2 || !f.Alive() {
			t.Error(users)
		}
	}
	r.mu.Unlock()
	r.phone.Close()
	r.said.await(t, "reachable=false", 2)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.flows) != 0 || len(r.users["0"].bindings)+len(r.users["1"].bindings) != 0 {
		t.Error(len(r.flows), "connections are kept")
	}
}
