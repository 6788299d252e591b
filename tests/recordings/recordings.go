// Package recordings plays what a real FreeSWITCH and its telephones did, as a FreeSWITCH does:
// for tests of whoever uses its event socket. Each .txt file is a recording of one situation,
// with notes on what is going on.
package recordings

import (
	"bufio"
	"embed"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

//go:embed *.txt
var files embed.FS

// Password is what a player wants.
const Password = "ClueCon"

// Player is a FreeSWITCH that plays a recording to one connection.
type Player struct {
	Address string
	// Step gives the command of the recording that is due, and is closed at its end.
	Step <-chan string

	t       testing.TB
	entries []entry
	foreign bool
	step    chan string
	begin   chan struct{}
	renamed []string // identifiers of the recording, and those of the link
}

type entry struct{ kind, text string }

var entryHead = regexp.MustCompile(`(?m)^--- (note|server|client) ?(.*)\n`)

// Play plays a recording at an address of its own, once Begin is called. Commands of the
// recording are awaited where the link has such commands; with foreign, somebody else has given
// all of them.
func Play(t testing.TB, name string, foreign bool) *Player {
	t.Helper()
	data, err := files.ReadFile(name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	step := make(chan string)
	p := &Player{Address: listener.Addr().String(), Step: step, t: t, foreign: foreign, step: step, entries: parse(string(data)), begin: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		stop := make(chan struct{})
		defer close(stop)
		go func() { // whatever is awaited ends with the test
			select {
			case <-t.Context().Done():
				_ = conn.Close()
			case <-stop:
			}
		}()
		p.play(conn)
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return p
}

func parse(data string) []entry {
	heads := entryHead.FindAllStringSubmatchIndex(data, -1)
	list := make([]entry, 0, len(heads))
	for i, h := range heads {
		end := len(data)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		list = append(list, entry{data[h[2]:h[3]], data[h[1]:end]})
	}
	return list
}

// Streams are all that the FreeSWITCH of each recording has sent.
func Streams(t testing.TB) []string {
	t.Helper()
	names, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	streams := make([]string, len(names))
	for i, name := range names {
		data, err := files.ReadFile(name.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range parse(string(data)) {
			if e.kind == "server" {
				streams[i] += whole(e.text)
			}
		}
	}
	return streams
}

// Begin lets what was recorded happen. What there was before is told to whoever asks.
func (p *Player) Begin() { close(p.begin) }

// ours are the commands that a link gives itself; others in a recording are left out with their
// replies.
var ours = regexp.MustCompile(`^(api uuid_(hold|kill|transfer|send_dtmf|phone_event|setvar_multi|dual_transfer|bridge) |bgapi originate )`)

// play lets the link in, tells what there is, and then what was recorded.
func (p *Player) play(conn net.Conn) {
	in := bufio.NewReader(conn)
	_, _ = conn.Write([]byte("Content-Type: auth/request\n\n"))
	there := p.there()
	for _, exchange := range [][2]string{
		{"auth " + Password, "Content-Type: command/reply\nReply-Text: +OK accepted\n\n"},
		{"event plain ", "Content-Type: command/reply\nReply-Text: +OK event listener enabled plain\n\n"},
		{"api show channels as json", fmt.Sprintf("Content-Type: api/response\nContent-Length: %d\n\n%s", len(there), there)},
	} {
		given, err := readCommand(in)
		if err != nil {
			return
		}
		if strings.HasPrefix(given, "auth ") && given != exchange[0] {
			_, _ = conn.Write([]byte("Content-Type: command/reply\nReply-Text: -ERR invalid\n\nContent-Type: text/disconnect-notice\nContent-Length: 0\n\n"))
			return
		}
		if !strings.HasPrefix(given, exchange[0]) {
			p.t.Errorf("the link says %q where %q is due", given, exchange[0])
			return
		}
		_, _ = conn.Write([]byte(exchange[1]))
	}
	select {
	case <-p.begin:
	case <-p.t.Context().Done():
		return
	}
	skip := false
	for i, e := range p.entries {
		switch {
		case e.kind == "client":
			command := strings.TrimSpace(e.text)
			if skip = p.foreign || !ours.MatchString(command); skip {
				continue
			}
			select {
			case p.step <- command:
			case <-p.t.Context().Done():
				return
			}
			given, err := readCommand(in)
			if err != nil {
				return
			}
			p.given(command, given, p.entries[min(i+1, len(p.entries)-1)].text)
		case e.kind == "server" && strings.Contains(e.text, "text/event-plain"), e.kind == "server" && !skip:
			_, _ = conn.Write([]byte(strings.NewReplacer(p.renamed...).Replace(whole(e.text))))
		}
	}
	close(p.step)
	for {
		if _, err := readCommand(in); err != nil {
			return
		}
	}
}

func readCommand(r *bufio.Reader) (string, error) {
	var text string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\n" {
			return strings.TrimSpace(text), nil
		}
		text += line
	}
}

var identifier = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

var job = regexp.MustCompile(`Job-UUID: (\S+)`)

// given compares a command with the recorded one: an originate is the same telephone and number,
// under identifiers of the link's; anything else is the same word for word.
func (p *Player) given(recorded, given, reply string) {
	if !strings.HasPrefix(recorded, "bgapi originate ") {
		if wanted := strings.NewReplacer(p.renamed...).Replace(recorded); given != wanted {
			p.t.Errorf("the link says %q, the recording %q", given, wanted)
		}
		return
	}
	line, _, _ := strings.Cut(given, "\n")
	_, target, _ := strings.Cut(recorded, "}")
	if !strings.HasPrefix(line, "bgapi originate {") || !strings.HasSuffix(line, "}"+target) {
		p.t.Errorf("the link says %q, the recording %q", line, recorded)
	}
	p.renamed = append(p.renamed, identifier.FindString(recorded), identifier.FindString(given))
	if was, is := job.FindStringSubmatch(reply), job.FindStringSubmatch(given); was != nil && is != nil {
		p.renamed = append(p.renamed, was[1], is[1])
	}
}

// whole is a message as it came: a recording has blank lines between them.
func whole(text string) string {
	text = strings.TrimLeft(text, "\n")
	head, body, _ := strings.Cut(text, "\n\n")
	length := 0
	for line := range strings.Lines(head) {
		if value, found := strings.CutPrefix(line, "Content-Length: "); found {
			_, _ = fmt.Sscan(value, &length)
		}
	}
	return head + "\n\n" + body[:min(length, len(body))]
}

// events are the headers of every event.
func (p *Player) events() []map[string]string {
	var list []map[string]string
	for _, e := range p.entries {
		if e.kind != "server" || !strings.Contains(e.text, "text/event-plain") {
			continue
		}
		_, body, _ := strings.Cut(whole(e.text), "\n\n")
		ev := map[string]string{}
		for line := range strings.Lines(body) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			ev[name], _ = url.PathUnescape(value)
		}
		list = append(list, ev)
	}
	return list
}

// there are the channels that a recording does not see begin, as FreeSWITCH shows them.
func (p *Player) there() string {
	rows := []map[string]string{}
	known, callOf := map[string]bool{}, map[string]string{}
	events := p.events()
	for _, ev := range events { // who parts has been together
		if a, b := ev["Bridge-A-Unique-ID"], ev["Bridge-B-Unique-ID"]; ev["Event-Name"] == "CHANNEL_UNBRIDGE" && callOf[a] == "" && callOf[b] == "" {
			callOf[a], callOf[b] = a, a
		}
	}
	for _, ev := range events {
		id := ev["Unique-ID"]
		if id == "" || known[id] {
			continue
		}
		known[id] = true
		if ev["Event-Name"] == "CHANNEL_CREATE" {
			continue
		}
		call, state := ev["Channel-Call-UUID"], "ACTIVE"
		if with := callOf[id]; with != "" {
			call = with
		}
		if other := ev["Other-Leg-Unique-ID"]; callOf[other] == "" {
			callOf[other] = call
		}
		if ev["Channel-Call-State"] == "RINGING" {
			state = "RINGING"
		}
		rows = append(rows, map[string]string{
			"uuid": id, "direction": ev["Call-Direction"], "dest": ev["Caller-Destination-Number"], "callstate": state,
			"presence_id": ev["Channel-Presence-ID"], "call_uuid": call, "cid_num": ev["Caller-Caller-ID-Number"],
		})
	}
	text, err := json.Marshal(map[string]any{"row_count": len(rows), "rows": rows})
	if err != nil {
		p.t.Error(err)
	}
	return string(text)
}
