// Package recordings replays to tests, over an event socket, what a real FreeSWITCH and its
// telephones did. Each .txt file is a recording of one situation, with notes on what happens. Most headers were left
// out when they were recorded; those that the link has read since are added as FreeSWITCH sends them.
package recordings

import (
	"bufio"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed *.txt
var files embed.FS

// Password is what a player wants.
const Password = "ClueCon"

// Player is a FreeSWITCH that plays a recording to one connection.
type Player struct {
	// Step gives the command of the recording that is due, and is closed at its end.
	Step <-chan string
	// Database is what mod_db has, by realm/key; to be changed before Begin.
	Database map[string]string

	t       testing.TB
	playing sync.WaitGroup
	paced   bool    // it takes as long as what was recorded
	at      float64 // seconds of the recording
	entries []entry
	foreign bool
	cut     int      // the connection is lost before this entry, and comes again; 0: it is not
	missed  int      // entries that happen meanwhile
	again   chan int // for PlayOften
	next    int      // entry
	step    chan string
	begin   chan struct{}
	renamed []string // identifiers of the recording, and those of the link
}

type entry struct {
	kind, text string
	at         float64 // seconds
}

var entryHead = regexp.MustCompile(`(?m)^--- (note|server|client) ?(.*)\n`)

// Play plays a recording at an address of its own, once Begin is called. Commands of the
// recording are awaited where the link has such commands; with foreign, somebody else has given
// all of them.
func Play(t testing.TB, name string, foreign bool) *Player {
	t.Helper()
	return play(t, name, foreign, 0, 0)
}

// PlayCut is Play of what somebody else does, with the connection lost at one entry and so many
// more missed until it comes again. It reports false when there are not so many entries.
func PlayCut(t testing.TB, name string, at, missed int) (*Player, bool) {
	t.Helper()
	p := play(t, name, true, at, missed)
	return p, at+missed < len(p.entries)
}

// PlayEvents is Play of events that nobody has recorded: the lines of each.
func PlayEvents(t testing.TB, events ...string) *Player {
	t.Helper()
	entries := make([]entry, len(events))
	for i, lines := range events {
		entries[i] = entry{kind: "server", text: fmt.Sprintf("Content-Length: %d\nContent-Type: text/event-plain\n\n%s", len(lines), lines)}
	}
	return perform(t, entries, true, 0, 0)
}

// PlayOften is Play of what somebody else does, as often as Again says.
func PlayOften(t testing.TB, name string) *Player {
	t.Helper()
	p := play(t, name, true, 0, 0)
	p.again = make(chan int)
	return p
}

// Again has what was recorded happen so many times at once, each with channels of its own.
func (p *Player) Again(times int) {
	select {
	case p.again <- times:
	case <-p.t.Context().Done():
	}
}

// often plays the recording whenever it is wanted, until the link goes.
func (p *Player) often(conn net.Conn, given <-chan string) {
	total := 0
	for {
		select {
		case command, more := <-given:
			if !more {
				return
			}
			p.t.Errorf("the link says %q where somebody else does all", command)
		case times := <-p.again:
			p.at = 0
			for _, e := range p.entries {
				if e.headers() == nil {
					continue
				}
				p.pace(e)
				for i := range times {
					text := identifier.ReplaceAllStringFunc(whole(e.text), func(id string) string { return fmt.Sprintf("%08x%s", total+i, id[8:]) })
					if _, err := io.WriteString(conn, text); err != nil {
						return
					}
				}
			}
			total += times
		case <-p.t.Context().Done():
			return
		}
	}
}

// slack is how late FreeSWITCH may send an event, in seconds.
const slack = 0.02

// PlayShuffled is Play with events delayed as FreeSWITCH delays them: those of one channel stay in order.
func PlayShuffled(t testing.TB, name string, foreign bool, seed uint64) *Player {
	t.Helper()
	p := play(t, name, foreign, 0, 0)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not for secrets
	last := map[string]float64{}             // event, by channel
	for i, e := range p.entries {
		if ev := e.headers(); ev != nil {
			id := ev["Unique-ID"]
			last[id] = max(last[id], e.at+slack*random.Float64())
			p.entries[i].at = last[id]
		}
	}
	slices.SortStableFunc(p.entries, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	return p
}

func play(t testing.TB, name string, foreign bool, cut, missed int) *Player {
	t.Helper()
	data, err := files.ReadFile(name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return perform(t, parse(string(data)), foreign, cut, missed)
}

func perform(t testing.TB, entries []entry, foreign bool, cut, missed int) *Player {
	t.Helper()
	step := make(chan string)
	p := &Player{Database: map[string]string{}, Step: step, t: t, foreign: foreign, cut: cut, missed: missed, step: step, entries: entries, begin: make(chan struct{})}
	t.Cleanup(p.playing.Wait)
	return p
}

// Listen admits connections over TCP, one after the other, and returns the address.
func (p *Player) Listen() string {
	p.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(p.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.playing.Go(func() {
		for again := true; again; {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			again = p.serve(conn)
		}
	})
	p.t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// Connect returns a connection without a network. What is played takes as long as it took, which costs no time
// with testing/synctest.
func (p *Player) Connect() net.Conn {
	p.paced = true
	here, there := net.Pipe()
	p.playing.Go(func() { p.serve(there) })
	return here
}

// serve plays to a connection.
func (p *Player) serve(conn net.Conn) (again bool) {
	stop := context.AfterFunc(p.t.Context(), func() { _ = conn.Close() }) // whatever is awaited ends with the test
	defer func() { stop(); _ = conn.Close() }()
	return p.play(conn)
}

func parse(data string) []entry {
	heads := entryHead.FindAllStringSubmatchIndex(data, -1)
	list := make([]entry, 0, len(heads))
	start, at := 0., 0.
	for i, h := range heads {
		end := len(data)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		e := entry{kind: data[h[2]:h[3]], text: data[h[1]:end]}
		if _, err := fmt.Sscanf(data[h[4]:h[5]], "+%f", &e.at); err == nil && start+e.at < at { // another part of the recording
			start = at
		}
		at = start + e.at
		e.at = at
		list = append(list, e)
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

// Replies are what FreeSWITCH has replied to each command of a recording.
func Replies(t testing.TB, name string) map[string]string {
	t.Helper()
	data, err := files.ReadFile(name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	replies, command := map[string]string{}, ""
	for _, e := range parse(string(data)) {
		switch {
		case e.kind == "client":
			command = strings.TrimSpace(e.text)
		case e.kind == "server" && replies[command] == "":
			head, body, _ := strings.Cut(whole(e.text), "\n\n")
			if _, reply, found := strings.Cut(head, "Reply-Text: "); found {
				body, _, _ = strings.Cut(reply, "\n")
			}
			replies[command] = body
		}
	}
	return replies
}

// Shown are the channels that a FreeSWITCH has shown in several situations, by situation.
func Shown(t testing.TB) map[string]string {
	t.Helper()
	data, err := files.ReadFile("show-channels.txt")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for part := range strings.SplitSeq(string(data), "# ") {
		if title, list, found := strings.Cut(part, "\n"); found {
			shown[title] = list
		}
	}
	return shown
}

// Begin lets what was recorded happen. What there was before is told to whoever asks.
func (p *Player) Begin() { close(p.begin) }

// ours are the commands that a link gives itself; others in a recording are left out with their
// replies.
var ours = regexp.MustCompile(`^(api uuid_(hold|kill|transfer|recv_dtmf|phone_event|dual_transfer|bridge|broadcast|break|record) |bgapi originate |sendevent )`)

// End is the device that registers at the end of a recording, so that one sees that all is told.
const End = "9999"

const last = "Event-Name: CUSTOM\nEvent-Subclass: sofia%3A%3Aregister\nfrom-user: " + End + "\n\n"

// play lets the link in, tells what there is, and then what was recorded. It reports whether the
// connection is to come again.
func (p *Player) play(conn net.Conn) (again bool) {
	in := bufio.NewReader(conn)
	_, _ = conn.Write([]byte("Content-Type: auth/request\n\n"))
	there := p.there()
	for _, exchange := range [][2]string{
		{"auth " + Password, "Content-Type: command/reply\nReply-Text: +OK accepted\n\n"},
		{"event plain ", "Content-Type: command/reply\nReply-Text: +OK event listener enabled plain\n\n"},
		{"api show channels as json", fmt.Sprintf("Content-Type: api/response\nContent-Length: %d\n\n%s", len(there), there)},
		{"api show registrations as json", "Content-Type: api/response\nContent-Length: 15\n\n{\"row_count\":0}"},
	} {
		given, err := readCommand(in)
		for err == nil && strings.HasPrefix(given, "api uuid_getvar ") { // of channels that there are
			asked := strings.Fields(given)
			value := p.variable(asked[2], asked[3])
			_, _ = fmt.Fprintf(conn, "Content-Type: api/response\nContent-Length: %d\n\n%s", len(value), value)
			given, err = readCommand(in)
		}
		if err != nil {
			return false
		}
		if strings.HasPrefix(given, "auth ") && given != exchange[0] {
			_, _ = conn.Write([]byte("Content-Type: command/reply\nReply-Text: -ERR invalid\n\nContent-Type: text/disconnect-notice\nContent-Length: 0\n\n"))
			return false
		}
		if !strings.HasPrefix(given, exchange[0]) {
			p.t.Errorf("the link says %q where %q is due", given, exchange[0])
			return false
		}
		_, _ = conn.Write([]byte(exchange[1]))
	}
	given, gone, answers := make(chan string), make(chan struct{}), &replies{conn: conn}
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		p.listen(answers, in, given, gone)
	}()
	defer func() {
		close(gone)
		_ = conn.Close()
		<-listened
	}()
	select {
	case <-p.begin:
	case <-p.t.Context().Done():
		return false
	}
	if p.again != nil {
		p.often(conn, given)
		return false
	}
	skip := p.foreign
	for ; p.next < len(p.entries); p.next++ {
		e := p.entries[p.next]
		p.pace(e)
		switch {
		case p.next == p.cut && p.cut > 0:
			p.cut = 0
			p.next += p.missed
			return true
		case e.kind == "client":
			command := strings.TrimSpace(e.text)
			if skip = p.foreign || !ours.MatchString(command); skip {
				continue
			}
			select {
			case p.step <- command:
			case <-p.t.Context().Done():
				return false
			}
			instead, more := <-given
			if !more {
				return false
			}
			p.given(command, instead, p.entries[min(p.next+1, len(p.entries)-1)].text)
		case e.kind == "server" && strings.Contains(e.text, "text/event-plain"):
			_, _ = io.WriteString(conn, p.said(whole(e.text)))
		case e.kind == "server" && !skip:
			answers.recorded(p.said(whole(e.text)))
		}
	}
	fmt.Fprintf(conn, "Content-Length: %d\nContent-Type: text/event-plain\n\n%s", len(last), last)
	close(p.step)
	for range given { // which nobody awaits
		continue
	}
	return false
}

// pace waits until an entry is due.
func (p *Player) pace(e entry) {
	if wait := e.at - p.at; p.paced && wait > 0 {
		time.Sleep(time.Duration(wait * float64(time.Second)))
		p.at = e.at
	}
}

// replies keeps the replies to commands in their order.
type replies struct {
	conn net.Conn
	mu   sync.Mutex
	due  int      // commands whose replies are in the recording
	held []string // replies to later ones
}

// awaits says that the reply to a command is in the recording.
func (r *replies) awaits() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due++
}

// recorded sends a reply of the recording.
func (r *replies) recorded(reply string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = io.WriteString(r.conn, reply)
	if r.due--; r.due <= 0 {
		_, _ = io.WriteString(r.conn, strings.Join(r.held, ""))
		r.due, r.held = 0, nil
	}
}

// add replies at once, or after what is due.
func (r *replies) add(kind, body string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply := fmt.Sprintf("Content-Type: %s\nContent-Length: %d\n\n%s", kind, len(body), body)
	if kind == "command/reply" {
		reply = fmt.Sprintf("Content-Type: %s\nReply-Text: %s\n\n", kind, body)
	}
	if r.due > 0 {
		r.held = append(r.held, reply)
		return
	}
	_, _ = io.WriteString(r.conn, reply)
}

// listen passes the commands of a link on until it goes. What a link asks besides is answered at once: whether
// FreeSWITCH lives, the database that it keeps, variables, and further events, which it tells anyhow.
func (p *Player) listen(answers *replies, in *bufio.Reader, to chan<- string, gone <-chan struct{}) {
	defer close(to)
	for {
		given, err := readCommand(in)
		if err != nil {
			return
		}
		stored, db := strings.CutPrefix(given, "api db ")
		switch {
		case given == "api status":
			answers.add("api/response", "UP\n")
		case strings.HasPrefix(given, "api xml_locate "), strings.HasPrefix(given, "api domain_exists "):
			answers.add("api/response", "-ERR permission denied\n")
		case db:
			select {
			case <-p.begin:
			case <-gone:
				return
			}
			answers.add("api/response", p.database(strings.Split(stored, "/")))
		case strings.HasPrefix(given, "api uuid_setvar"):
			answers.add("api/response", "+OK\n")
		case strings.HasPrefix(given, "event plain "):
			answers.add("command/reply", "+OK event listener enabled plain")
		default:
			answers.awaits()
			select {
			case to <- given:
			case <-gone:
				return
			}
		}
	}
}

// variable is a variable of a channel, as its last event before the next entry has it.
func (p *Player) variable(id, name string) string {
	value := "_undef_"
	for _, e := range p.entries[:p.next] {
		if ev := e.headers(); ev["Unique-ID"] == id && ev["variable_"+name] != "" {
			value = ev["variable_"+name]
		}
	}
	return value
}

// database is mod_db: select, insert or delete, a realm, a key, and a value.
func (p *Player) database(words []string) string {
	key := strings.Join(words[1:3], "/")
	switch words[0] {
	case "insert":
		p.Database[key] = words[3]
	case "delete":
		delete(p.Database, key)
	default:
		if value := p.Database[key]; value != "" {
			return value
		}
		return "-ERR no reply\n"
	}
	return "+OK\n"
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

// Placed is the variable that a link gives the channels of a call that it places: the call's identifier. Recordings
// have the identifier of the first channel instead.
const Placed = "csta_call"

const begins = "CHANNEL_CREATE"

var identifier = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

var room = regexp.MustCompile(`conference[:(]([^@]+)@`)

var job = regexp.MustCompile(`Job-UUID: (\S+)`)

// alone is how the link keeps the automatic answer of the calling telephone from those that it calls.
var alone = regexp.MustCompile(`'unset:sip_h_Call-Info,transfer:(.*)' inline$`)

var recorded = regexp.MustCompile(`^(api uuid_record \S+ (?:start|stop) )(\S+)`)

// given compares a command with the recorded one. What the link chooses itself may differ: its
// identifiers, the variables of a call, names of conferences, and of files that are written.
func (p *Player) given(command, given, reply string) {
	command = strings.Replace(command, " 3000 XML default", " conference:3000@default inline", 1) // where the dialplan has a conference
	command = strings.Replace(command, ",440) both", ",440) aleg", 1)                             // a message for one of two
	if strings.HasPrefix(command, "api uuid_break ") {
		command = strings.TrimSuffix(command, " all") // messages that wait are played
	}
	if was, is := room.FindStringSubmatch(command), room.FindStringSubmatch(given); was != nil && is != nil {
		for _, around := range []string{"conference:%s@", "conference(%s@", "Conference-Name: %s\n"} {
			p.renamed = append(p.renamed, fmt.Sprintf(around, was[1]), fmt.Sprintf(around, is[1]))
		}
	}
	if was, is := recorded.FindStringSubmatch(command), recorded.FindStringSubmatch(given); was != nil && is != nil {
		p.renamed = append(p.renamed, was[2], is[2])
	}
	wanted := strings.NewReplacer(p.renamed...).Replace(command)
	switch {
	case strings.HasPrefix(command, "sendevent "):
		if !sameLines(given, wanted) {
			p.t.Errorf("the link says %q, the recording %q", given, wanted)
		}
		return
	case !strings.HasPrefix(command, "bgapi originate "):
		if given != wanted {
			p.t.Errorf("the link says %q, the recording %q", given, wanted)
		}
		return
	}
	line, _, _ := strings.Cut(given, "\n")
	line = alone.ReplaceAllString(line, "$1")
	_, target, _ := strings.Cut(wanted, "user/")
	if !strings.HasPrefix(line, "bgapi originate {") || !strings.HasSuffix(line, "}user/"+target) {
		p.t.Errorf("the link says %q, the recording %q", line, command)
	}
	made := p.made()
	_, own, _ := strings.Cut(line, Placed+"=")
	own, _, _ = strings.Cut(own, ",")
	p.renamed = append(p.renamed, "Unique-ID: "+made+"\nCall-Direction", fmt.Sprintf("Unique-ID: %s\nvariable_%s: %s\nCall-Direction", made, Placed, own))
	if was, is := job.FindStringSubmatch(reply), job.FindStringSubmatch(given); was != nil && is != nil {
		p.renamed = append(p.renamed, was[1], is[1])
	}
}

// made is the channel that the recording makes next.
func (p *Player) made() string {
	for _, e := range p.entries[p.next:] {
		if ev := e.headers(); ev["Event-Name"] == begins {
			return ev["Unique-ID"]
		}
	}
	return ""
}

// sameLines compares headers, in any order. How many messages wait is not known to a link.
func sameLines(given, wanted string) bool {
	set := func(text string) []string {
		lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, "MWI-Voice-Message: ") })
		slices.Sort(lines)
		return lines
	}
	return slices.Equal(set(given), set(wanted))
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

// said is a message as this FreeSWITCH says it, under the link's own names.
func (p *Player) said(message string) string {
	text := strings.NewReplacer(p.renamed...).Replace(message)
	if head, body, _ := strings.Cut(text, "\n\n"); body != "" {
		text = contentLength.ReplaceAllString(head, fmt.Sprintf("Content-Length: %d", len(body))) + "\n\n" + body
	}
	return text
}

var contentLength = regexp.MustCompile(`Content-Length: \d+`)

// headers are those of an event; nil when the entry is none.
func (e entry) headers() map[string]string {
	if e.kind != "server" || !strings.Contains(e.text, "text/event-plain") {
		return nil
	}
	_, body, _ := strings.Cut(whole(e.text), "\n\n")
	ev := map[string]string{}
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		ev[name], _ = url.PathUnescape(value)
	}
	return ev
}

// row is a channel as FreeSWITCH shows it.
type row map[string]string

// goesOn notes what an event says of where a channel is.
func (r row) goesOn(ev map[string]string) {
	if number := ev["Caller-Destination-Number"]; number != "" && r["direction"] == "inbound" {
		r["dest"] = number
	}
	switch {
	case ev["Action"] == "add-member":
		r["application"], r["application_data"] = "conference", ev["Conference-Name"]+"@default"
	case ev["CC-Action"] == "member-queue-start":
		r["application"], r["application_data"] = "callcenter", ev["CC-Queue"]
	case ev["FIFO-Action"] == "push":
		r["application"], r["application_data"] = "fifo", ev["FIFO-Name"]+" in"
	case ev["Action"] == "hold":
		r["application"], r["application_data"] = "valet_park", ev["Valet-Lot-Name"]+" "+ev["Valet-Extension"]
	}
}

// there are the channels that there are before the next entry, as FreeSWITCH shows them: those
// that the recording does not see begin, too.
func (p *Player) there() string {
	callOf, created := map[string]string{}, map[string]int{}
	for i, e := range p.entries { // who parts has been together
		ev := e.headers()
		if ev["Event-Name"] == begins {
			created[ev["Unique-ID"]] = i
		}
		if a, b := ev["Bridge-A-Unique-ID"], ev["Bridge-B-Unique-ID"]; ev["Event-Name"] == "CHANNEL_UNBRIDGE" && callOf[a] == "" && callOf[b] == "" {
			callOf[a], callOf[b] = a, a
		}
	}
	rows, seen, begun := map[string]row{}, map[string]bool{}, []string{}
	for i, e := range p.entries {
		ev := e.headers()
		id, name := ev["Unique-ID"], ev["Event-Name"]
		if id == "" || seen[id] && i >= p.next || i < created[id] {
			continue
		}
		state := ev["Channel-Call-State"]
		if !seen[id] {
			seen[id] = true
			if name == begins && i >= p.next {
				continue
			}
			call := ev["Channel-Call-UUID"]
			if with := callOf[id]; with != "" && name != begins {
				call = with
			}
			if other := ev["Other-Leg-Unique-ID"]; callOf[other] == "" {
				callOf[other] = call
			}
			if name != begins && state != "RINGING" {
				state = "ACTIVE"
			}
			begun = append(begun, id)
			rows[id] = row{
				"uuid": id, "name": ev["Channel-Name"], "direction": ev["Call-Direction"], "dest": ev["Caller-Destination-Number"],
				"presence_id": ev["Channel-Presence-ID"], "call_uuid": call, "cid_num": ev["Caller-Caller-ID-Number"],
			}
			if name == begins && ev["Call-Direction"] == "inbound" {
				rows[id]["call_uuid"] = "" // until it is bridged
			}
		}
		if row := rows[id]; row != nil && i < p.next {
			row.goesOn(ev)
		}
		switch row := rows[id]; {
		case row == nil:
		case name == "CHANNEL_BRIDGE" && i < p.next:
			for _, leg := range []string{ev["Bridge-A-Unique-ID"], ev["Bridge-B-Unique-ID"]} {
				if rows[leg] != nil {
					rows[leg]["call_uuid"], rows[leg]["application"] = ev["Channel-Call-UUID"], "bridge"
				}
			}
		case name == "CHANNEL_HANGUP" && i < p.next:
			delete(rows, id)
		case name == "CHANNEL_PROGRESS" && i < p.next:
			row["callstate"] = "RINGING"
		case name == "CHANNEL_ANSWER" && i < p.next:
			row["callstate"] = "ACTIVE"
		default:
			row["callstate"] = state
		}
	}
	list := []row{}
	for _, id := range begun {
		if rows[id] != nil {
			list = append(list, rows[id])
		}
	}
	text, err := json.Marshal(map[string]any{"row_count": len(list), "rows": list})
	if err != nil {
		p.t.Error(err)
	}
	return string(text)
}
