package freeswitch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/tests/recordings"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// trial is a link to a FreeSWITCH that obeys every command and sends the test's events.
type trial struct {
	t    *testing.T
	link *Link
	core *core

	mu       sync.Mutex
	commands []string
	database map[string]string
	refuse   string // commands that begin so are refused
	answer   string // to any command; "": as it should be
	slow     bool   // the test tells when uuid_bridge has connected two channels
	replies  chan string
	raw      func(octets string) // called with each command as it is written; may be nil
	pending  atomic.Int32        // commands whose answers are being taken
	sent     atomic.Int64        // commands
}

// wire is the connection of a trial.
type wire struct {
	net.Conn
	*trial
}

func (w wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.raw != nil {
		w.raw(string(p))
	}
	text := strings.TrimSpace(string(p))
	reply := "+OK"
	if stored, db := strings.CutPrefix(text, "api db "); db {
		switch parts := strings.Split(stored, "/"); parts[0] {
		case "insert":
			w.database[parts[1]+"/"+parts[2]] = parts[3]
		case "delete":
			delete(w.database, parts[1]+"/"+parts[2])
		default:
			if reply = w.database[parts[1]+"/"+parts[2]]; reply == "" {
				reply = "-ERR no reply"
			}
		}
	} else if name, get := strings.CutPrefix(text, "api uuid_getvar "); get {
		if reply = w.database[name]; reply == "" {
			reply = "_undef_"
		}
	} else if user, list := strings.CutPrefix(text, "api list_users user "); list {
		reply = "userid|context|domain|group|contact|callgroup|effective_caller_id_name|effective_caller_id_number\n" +
			user + "|default|elsewhere.test|default|error/user_not_registered|wrong||\n" +
			user + "|default|pbx.test|default|" + cmp.Or(w.database["contact "+user], "error/user_not_registered") + "|" + w.database["group "+user] + "||\n\n+OK\n"
	} else {
		w.commands = append(w.commands, text)
	}
	if w.refuse != "" && strings.HasPrefix(text, w.refuse) {
		reply = "-ERR db Command not found!"
	}
	if w.answer != "" {
		reply = w.answer
	}
	if pair, connects := strings.CutPrefix(text, "api uuid_bridge "); connects && reply == "+OK" && !w.slow {
		a, b, _ := strings.Cut(pair, " ")
		w.link.inbox.Post(func() {
			w.link.handle(event{headers: map[string]string{"Event-Name": "CHANNEL_BRIDGE", "Unique-ID": a, "Bridge-A-Unique-ID": a, "Bridge-B-Unique-ID": b}})
		})
	}
	w.sent.Add(1)
	w.replies <- reply
	return len(p), nil
}
func (w wire) SetWriteDeadline(time.Time) error { return nil }
func (w wire) Close() error                     { return nil }

func newTrial(t *testing.T, cfg LinkConfig, devices ...string) *trial {
	t.Helper()
	cfg.Domain = "pbx.test"
	l, err := NewLink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{
		t: t, link: l, database: map[string]string{}, replies: make(chan string, maxWaiting),
		core: &core{watched: map[string]string{}, told: map[string][]string{}, changed: make(chan struct{}, 1)},
	}
	l.socket = newSocket(wire{trial: tr}, time.Hour, l.cfg.Log, nil, l.handle)
	l.begin(tr.core)
	l.inbox.Open()
	l.ready.Store(true)
	ended := make(chan error, 1)
	var group sync.WaitGroup
	group.Go(func() { _ = l.inbox.Run(ended) })
	group.Go(func() {
		ended <- l.socket.Serve(context.Background(), func() error {
			for {
				select {
				case reply := <-tr.replies:
					tr.pending.Add(1)
					if err := l.socket.reply(reply); err != nil {
						t.Error(err)
					}
					tr.pending.Add(-1)
				case <-l.socket.Ended():
					return errBroken
				}
			}
		})
	})
	t.Cleanup(func() { l.socket.Close(errors.New("over")); group.Wait() })
	for _, device := range devices {
		object := uacsta.Dev(device)
		res := tr.must(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}})
		tr.core.watched[res.CrossRef()] = device
	}
	return tr
}

// deliver tells events, one in a line: its name, or subclass, and headers.
func (tr *trial) tell(lines string) {
	tr.t.Helper()
	done := make(chan struct{})
	tr.link.inbox.Post(func() {
		defer close(done)
		for line := range strings.Lines(lines) {
			words := strings.Fields(line)
			e := event{headers: map[string]string{"Event-Name": words[0]}}
			if strings.Contains(words[0], "::") {
				e.headers = map[string]string{"Event-Name": "CUSTOM", "Event-Subclass": words[0]}
			}
			for _, word := range words[1:] {
				name, value, _ := strings.Cut(word, "=")
				e.headers[short(name)] = strings.ReplaceAll(value, "%20", " ")
			}
			if id := e.get("Unique-ID"); tr.link.awaited[id] != nil { // tests name a channel like the call that is placed
				e.headers["variable_csta_call"] = id
			}
			tr.link.handle(e)
		}
	})
	<-done
}

// short are names of headers that are used often.
func short(name string) string {
	long := map[string]string{
		"id": "Unique-ID", "of": "Other-Leg-Unique-ID", "dir": "Call-Direction", "who": "Channel-Presence-ID", "to": "Caller-Destination-Number",
		"from": "Caller-Caller-ID-Number", "why": "Hangup-Cause", "a": "Bridge-A-Unique-ID", "b": "Bridge-B-Unique-ID",
	}[name]
	if long == "" {
		return name
	}
	return long
}

func (tr *trial) ask(service any) (*uacsta.Message, error) {
	return (&player{t: tr.t, link: tr.link}).ask(service)
}

func (tr *trial) must(service any) *uacsta.Message {
	tr.t.Helper()
	m, err := tr.ask(service)
	if err != nil {
		tr.t.Fatalf("%T: %v", service, err)
	}
	return m
}

func (tr *trial) refused(service any, why string) {
	tr.t.Helper()
	if m, err := tr.ask(service); err == nil || !strings.HasSuffix(err.Error(), why) {
		tr.t.Errorf("%T: %v, %v, not %s", service, m, err, why)
	}
}

// settle waits until all commands are answered, and what follows from the answers is done.
func (tr *trial) settle() {
	tr.t.Helper()
	deadline := time.After(patience)
	for idle := 0; idle < 2; {
		before := tr.sent.Load()
		later := 0
		tr.tell("")
		tr.link.inbox.Post(func() { later = len(tr.link.later.events) })
		tr.tell("")
		if idle++; later > 0 || tr.link.socket.Waiting() > 0 || tr.pending.Load() > 0 || tr.sent.Load() != before {
			idle = 0
		}
		select {
		case <-deadline:
			tr.t.Fatal("commands are without answer")
		default:
		}
	}
}

// hears compares the events of a device since the last call.
func (tr *trial) hears(device string, want ...string) {
	tr.t.Helper()
	tr.settle()
	tr.core.mu.Lock()
	defer tr.core.mu.Unlock()
	if got := tr.core.told[device]; !slices.Equal(got, want) {
		tr.t.Errorf("%s hears\n%s\nnot\n%s", device, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	delete(tr.core.told, device)
}

// gave is the last command, with the link's own identifiers as #.
func (tr *trial) gave() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.commands) == 0 {
		return ""
	}
	return identifiers.ReplaceAllString(tr.commands[len(tr.commands)-1], "#")
}

// identifiers are those that the link makes.
var identifiers = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

func (tr *trial) gives(want string) {
	tr.t.Helper()
	tr.settle()
	if got := tr.gave(); got != want {
		tr.t.Errorf("the command is %q, not %q", got, want)
	}
}

// made is the channel that the last originate makes.
func (tr *trial) made() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	_, rest, _ := strings.Cut(tr.commands[len(tr.commands)-1], "csta_call=")
	id, _, _ := strings.Cut(rest, ",")
	return id
}

const calls1002 = `CHANNEL_CREATE id=A dir=inbound who=1001@pbx.test to=1002
CHANNEL_CREATE id=B of=A dir=outbound who=1002@pbx.test
CHANNEL_PROGRESS id=B
`

const talking = calls1002 + "CHANNEL_ANSWER id=B\nCHANNEL_ANSWER id=A\n"

const inQueue = `CHANNEL_CREATE id=A dir=inbound who=1001@pbx.test to=9700
CHANNEL_ANSWER id=A
callcenter::info CC-Action=member-queue-start CC-Queue=9700@pbx.test CC-Member-Session-UUID=A
`

func offered(agent, id string) string {
	return fmt.Sprintf("CHANNEL_CREATE id=%s dir=outbound who=%s@pbx.test variable_cc_member_session_uuid=A\nCHANNEL_PROGRESS id=%[1]s\n", id, agent)
}

// A call that an agent does not answer goes on waiting; so it does while another one rings.
func TestQueue(t *testing.T) {
	tr := newTrial(t, LinkConfig{QueuePrefix: "02"}, "1002", "1003", "029700")
	tr.tell(inQueue + offered("1002", "B"))
	tr.hears("029700", "Queued 029700 queued enteringDistribution", "Diverted 029700 null distributed")
	tr.hears("1002", "Delivered 1002 alerting distributed")
	tr.tell("CHANNEL_HANGUP id=B why=NO_ANSWER")
	tr.hears("1002", "Diverted 1002 null redirected")
	tr.hears("029700", "Queued 029700 queued noAvailableAgents")
	tr.tell(offered("1002", "C") + offered("1003", "D"))
	tr.settle()
	tr.tell("CHANNEL_HANGUP id=C why=NO_ANSWER")
	tr.hears("029700", "Diverted 029700 null distributed")
	tr.tell("CHANNEL_ANSWER id=D")
	tr.hears("1003", "Delivered 1003 alerting distributed", "ConnectionCleared 1002 alerting callNotAnswered", "Established 1003 connected distributed")
	tr.tell("CHANNEL_HANGUP id=D why=NORMAL_CLEARING\nCHANNEL_HANGUP id=A why=NORMAL_CLEARING")
	tr.hears("029700")
	if len(tr.link.calls) != 0 || len(tr.link.parts) != 0 {
		t.Errorf("%d calls, %d queues are left", len(tr.link.calls), len(tr.link.parts))
	}
}

// An agent that mod_callcenter calls while another one answers is not consulted by the caller.
func TestQueueLosesRace(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001")
	tr.tell(inQueue + offered("1002", "B") + "CHANNEL_ANSWER id=B\nCHANNEL_BRIDGE id=A a=A b=B\n" + offered("1003", "C") + "CHANNEL_HANGUP id=C why=LOSE_RACE\n")
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "Queued 9700 connected enteringDistribution", "Diverted 9700 connected distributed",
		"Delivered 1002 connected distributed", "Established 1002 connected distributed", "Delivered 1003 connected distributed", "ConnectionCleared 1003 connected multipleAlerting")
}

// A caller that waits too long or hangs up leaves the queue. Events carry the number of waiting
// calls.
func TestQueueEnds(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "9700")
	tr.tell(inQueue + "callcenter::info CC-Action=member-queue-end CC-Member-Session-UUID=A CC-Cause=Cancel CC-Cancel-Reason=TIMEOUT")
	tr.hears("9700", "Queued 9700 queued enteringDistribution", "ConnectionCleared 9700 null queueTimeOverflow")
	tr.tell("fifo::info FIFO-Action=push FIFO-Name=9700@pbx.test id=A\nfifo::info FIFO-Action=abort FIFO-Name=9700@pbx.test id=A")
	tr.hears("9700", "Queued 9700 queued enteringDistribution", "ConnectionCleared 9700 null normalClearing")
	tr.tell("fifo::info FIFO-Action=push FIFO-Name=9700@pbx.test id=A\nCHANNEL_HANGUP id=A why=NORMAL_CLEARING")
	tr.hears("9700", "Queued 9700 queued enteringDistribution", "ConnectionCleared 1001 queued normalClearing", "ConnectionCleared 9700 null normalClearing")
}

// A device that is registered more than once has one connection, whichever of its telephones ring, decline or answer.
func TestRegisteredTwice(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002")
	const ring = calls1002 + "CHANNEL_CREATE id=C of=A dir=outbound who=1002@pbx.test\nCHANNEL_PROGRESS id=C\n"
	ends := "CHANNEL_HANGUP id=A why=NORMAL_CLEARING\nCHANNEL_HANGUP id=B why=NORMAL_CLEARING\nCHANNEL_HANGUP id=C why=NORMAL_CLEARING\n"
	talked := []string{"Delivered 1002 alerting newCall", "Established 1002 connected newCall", "ConnectionCleared 1001 connected normalClearing", "ConnectionCleared 1002 null normalClearing"}
	for name, tt := range map[string]struct {
		events string
		want   []string
	}{
		"the first answers":                   {ring + "CHANNEL_ANSWER id=B\nCHANNEL_HANGUP id=C why=LOSE_RACE\n" + ends, talked},
		"the second answers":                  {ring + "CHANNEL_ANSWER id=C\nCHANNEL_HANGUP id=B why=LOSE_RACE\n" + ends, talked},
		"the second declines":                 {ring + "CHANNEL_HANGUP id=C why=USER_BUSY\nCHANNEL_ANSWER id=B\n" + ends, talked},
		"the first declines":                  {ring + "CHANNEL_HANGUP id=B why=USER_BUSY\nCHANNEL_ANSWER id=C\n" + ends, talked},
		"both answer":                         {ring + "CHANNEL_ANSWER id=C\nCHANNEL_ANSWER id=B\nCHANNEL_HANGUP id=B why=LOSE_RACE\n" + ends, talked},
		"both answer, the second has it":      {ring + "CHANNEL_ANSWER id=C\nCHANNEL_ANSWER id=B\nCHANNEL_HANGUP id=C why=LOSE_RACE\n" + ends, talked},
		"the other one ends after the caller": {ring + "CHANNEL_ANSWER id=C\n" + ends, talked},
		"both decline": {
			ring + "CHANNEL_HANGUP id=B why=USER_BUSY\nCHANNEL_HANGUP id=C why=CALL_REJECTED\n" + ends,
			[]string{"Delivered 1002 alerting newCall", "Failed 1002 fail busy", "ConnectionCleared 1002 null busy"},
		},
		"another telephone takes the call": {
			ring + "CHANNEL_HANGUP id=B why=PICKED_OFF\nCHANNEL_CREATE id=D dir=inbound who=1003@pbx.test to=**1002\nCHANNEL_BRIDGE id=D a=D b=A\nCHANNEL_HANGUP id=D why=NORMAL_CLEARING\n" + ends,
			[]string{"Delivered 1002 alerting newCall", "Diverted 1002 null callPickup"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr.tell(tt.events)
			tr.hears("1002", tt.want...)
			if len(tr.link.channels)+len(tr.link.calls) != 0 {
				t.Errorf("%d channels and %d calls are left", len(tr.link.channels), len(tr.link.calls))
			}
		})
	}
	tr.tell(ring)
	tr.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("A", "1002")})
	if tr.gives("api uuid_phone_event C talk"); len(tr.commands) != 2 {
		t.Errorf("the commands are %q", tr.commands)
	}
	tr.commands = nil
	tr.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn("A", "1002")})
	if tr.gives("api uuid_kill C NORMAL_CLEARING"); len(tr.commands) != 2 {
		t.Errorf("the commands are %q", tr.commands)
	}
	tr.tell(ends)
	tr.core.told = map[string][]string{}
	call := tr.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002")}).Text("callingDevice/callID")
	both := strings.ReplaceAll("CHANNEL_CREATE id=X variable_csta_call=# dir=outbound who=1001@pbx.test\nCHANNEL_CREATE id=Y variable_csta_call=# dir=outbound who=1001@pbx.test\nCHANNEL_PROGRESS id=X\nCHANNEL_PROGRESS id=Y\n", "#", call)
	tr.tell(both + "CHANNEL_ANSWER id=Y\nCHANNEL_HANGUP id=X why=LOSE_RACE")
	tr.hears("1001", "ServiceInitiated 1001 initiated makeCall", "Originated 1001 connected newCall")
	tr.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(call, "1001")})
	tr.gives("api uuid_kill Y NORMAL_CLEARING")
}

// A called device that had rung learns that the attempt has failed, and a trunk that was reached.
func TestRejected(t *testing.T) {
	tr := newTrial(t, LinkConfig{TrunkPrefix: "01"}, "1001", "1002", "1003", "01gw")
	tr.tell(calls1002 + "CHANNEL_HANGUP id=B why=CALL_REJECTED\nCHANNEL_HANGUP id=A why=CALL_REJECTED\n")
	tr.hears("1002", "Delivered 1002 alerting newCall", "Failed 1002 fail busy", "ConnectionCleared 1002 null busy")
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "Delivered 1002 connected newCall",
		"Failed 1002 connected busy", "ConnectionCleared 1002 connected busy", "ConnectionCleared 1001 null busy")
	tr.tell("CHANNEL_CREATE id=A dir=inbound who=1001@pbx.test to=55\nCHANNEL_CREATE id=B of=A dir=outbound to=55 variable_sip_gateway_name=gw\nCHANNEL_HANGUP id=B why=USER_BUSY\nCHANNEL_HANGUP id=A why=USER_BUSY\n")
	tr.hears("01gw", "NetworkReached 55  newCall", "Failed 55 fail busy", "ConnectionCleared 55 null busy")
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "NetworkReached 55 connected newCall",
		"Failed 55 connected busy", "ConnectionCleared 55 connected busy", "ConnectionCleared 1001 null busy")
	tr.tell(strings.Replace(calls1002, "CHANNEL_PROGRESS", "CHANNEL_CREATE id=C of=A dir=outbound who=1003@pbx.test\nCHANNEL_PROGRESS", 1) +
		"CHANNEL_PROGRESS id=C\nCHANNEL_HANGUP id=B why=USER_BUSY\nCHANNEL_HANGUP id=C why=NO_ANSWER\n")
	tr.hears("1002", "Delivered 1002 alerting newCall", "Delivered 1003 alerting newCall", "ConnectionCleared 1002 null busy")
	tr.hears("1003", "Delivered 1003 alerting newCall", "ConnectionCleared 1002 alerting busy", "Failed 1003 fail callNotAnswered", "ConnectionCleared 1003 null callNotAnswered")
}

// Who holds and ends the call has not retrieved it; who only retrieves it has.
func TestHolderEnds(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1002")
	tr.tell(talking + "CHANNEL_HOLD id=B\nCHANNEL_UNHOLD id=B")
	tr.hears("1002", "Delivered 1002 alerting newCall", "Established 1002 connected newCall", "Held 1002 hold normal", "Retrieved 1002 connected normal")
	tr.tell("CHANNEL_HOLD id=B\nCHANNEL_UNHOLD id=B\nCHANNEL_HANGUP id=B why=NORMAL_CLEARING\nCHANNEL_HANGUP id=A why=NORMAL_CLEARING")
	tr.hears("1002", "Held 1002 hold normal", "ConnectionCleared 1002 null normalClearing")
}

// A channel of mod_loopback is no device: what it calls, the caller calls.
func TestLoopback(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002")
	tr.tell(`CHANNEL_CREATE id=A dir=inbound who=1001@pbx.test to=7300
CHANNEL_CREATE id=L of=A dir=outbound to=71002 variable_loopback_leg=A variable_other_loopback_leg_uuid=M
CHANNEL_CREATE id=M dir=inbound to=71002 variable_loopback_leg=B variable_other_loopback_leg_uuid=L
CHANNEL_CREATE id=B of=M dir=outbound who=1002@pbx.test
CHANNEL_PROGRESS id=B
CHANNEL_PROGRESS id=L variable_loopback_leg=A
CHANNEL_ANSWER id=B
CHANNEL_ANSWER id=L variable_loopback_leg=A
CHANNEL_BRIDGE id=M a=M b=B variable_loopback_leg=B
CHANNEL_BRIDGE id=A a=A b=L
CHANNEL_HANGUP id=B why=NORMAL_CLEARING
CHANNEL_HANGUP id=M why=NORMAL_CLEARING variable_loopback_leg=B
CHANNEL_HANGUP id=L why=NORMAL_CLEARING variable_loopback_leg=A
CHANNEL_HANGUP id=A why=NORMAL_CLEARING`)
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "Delivered 1002 connected newCall", "Established 1002 connected newCall",
		"ConnectionCleared 1002 connected normalClearing", "ConnectionCleared 1001 null normalClearing")
	if len(tr.link.channels)+len(tr.link.calls)+len(tr.link.loops) != 0 {
		t.Errorf("%d channels, %d calls, %d loops are left", len(tr.link.channels), len(tr.link.calls), len(tr.link.loops))
	}
}

// The dialplan says what is a queue, and what is a trunk.
func TestDialplan(t *testing.T) {
	tr := newTrial(t, LinkConfig{QueuePrefix: "02", TrunkPrefix: "01", Queues: func(number string) bool { return number == "9501" }},
		"1002", "0120", "0121", "01gw", "029500", "029501")
	tr.tell(`CHANNEL_CREATE id=A dir=inbound from=5550100 to=193190
csta::trunk Trunk=20 id=A
csta::queue Queue=9500 id=A
CHANNEL_CREATE id=B of=A dir=outbound who=1002@pbx.test
CHANNEL_PROGRESS id=B
CHANNEL_ANSWER id=B`)
	tr.hears("0120", "ServiceInitiated 5550100 initiated normal", "Originated 5550100 connected newCall", "Queued 029500 connected enteringDistribution", "Diverted 029500 connected distributed", "Delivered 1002 connected distributed", "Established 1002 connected distributed")
	calls := tr.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("0120")})
	if calls.Text("crossRefIDorSnapshotData/snapshotData/snapshotDeviceResponseInfo/connectionIdentifier/callID") != "A" {
		t.Errorf("the trunk has the calls %s", calls)
	}
	tr.tell(`CHANNEL_CREATE id=E dir=inbound who=1003@pbx.test to=5000
CHANNEL_ANSWER id=E to=9501`) // the dialplan has sent it on
	tr.hears("029501", "Queued 029501 queued enteringDistribution")
	tr.tell(`csta::trunk Trunk=21 id=B
CHANNEL_CREATE id=C dir=inbound who=1002@pbx.test to=2055
csta::trunk Trunk=21 id=C
CHANNEL_CREATE id=D of=C dir=outbound to=55 variable_sip_gateway_name=gw
CHANNEL_PROGRESS id=D`)
	tr.hears("0121", "NetworkReached 55  newCall", "Delivered 55 alerting newCall")
	tr.tell("sofia::gateway_state Gateway=gw State=REGED\nsofia::gateway_state Gateway=gw State=NOREG Ping-Status=DOWN\nsofia::gateway_state Gateway=g\u2028w State=REGED")
	tr.hears("01gw", "BackInService  normal", "OutOfService  normal")
	tr.tell("sofia::gateway_state Gateway=gw State=REGED\nsofia::gateway_delete Gateway=gw")
	tr.hears("01gw", "BackInService  normal", "OutOfService  normal")
	tr.tell(`CHANNEL_CREATE id=F dir=inbound from=5550100 to=193190 variable_sip_gateway=gw
csta::trunk Trunk=21 id=F
DTMF id=F DTMF-Digit=5`) // a gateway that clients know by another name
	tr.hears("01gw", "ServiceInitiated 5550100 initiated normal", "Originated 5550100 connected newCall", "ConnectionCleared 5550100 null redirected")
	tr.hears("0121", "ServiceInitiated 5550100 initiated normal", "Originated 5550100 connected newCall", "DtmfDetected 5550100  dTMFDigitDetected5")
}

// A queue answers when the dialplan answers, or at a client's request, and sends the call on, or the dialplan does.
func TestQueueAnswers(t *testing.T) {
	tr := newTrial(t, LinkConfig{QueuePrefix: "02"}, "1001", "1002", "029500", "029501")
	tr.tell("CHANNEL_CREATE id=A dir=inbound who=1001@pbx.test to=9500\ncsta::queue Queue=9500 id=A\nCHANNEL_ANSWER id=A\nDTMF id=A DTMF-Digit=1")
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "Queued 029500 connected enteringDistribution",
		"Established 029500 connected newCall", "DtmfDetected 1001  dTMFDigitDetected1")
	tr.hears("029500", "Queued 029500 queued enteringDistribution", "Established 029500 connected newCall", "DtmfDetected 1001  dTMFDigitDetected1")
	tr.tell("csta::queue Queue=9501 id=A")
	tr.hears("029500", "Diverted 029500 null redirected")
	tr.hears("029501", "Queued 029501 queued enteringDistribution")
	tr.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("A", "029501")})
	tr.gives("api uuid_answer A")
	tr.must(uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn("A", "029501"), NewDestination: []uacsta.DeviceID{uacsta.Dev("1002")}})
	tr.gives("api uuid_transfer A 1002 XML default")
	tr.hears("029501", "Established 029501 connected redirected", "Diverted 029501 null redirected")
	tr.tell("CHANNEL_CREATE id=B of=A dir=outbound who=1002@pbx.test\nCHANNEL_PROGRESS id=B\nCHANNEL_ANSWER id=B")
	tr.hears("1002", "Delivered 1002 alerting redirected", "Established 1002 connected redirected")
	tr.refused(uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn("A", "1002"), NewDestination: []uacsta.DeviceID{uacsta.Dev("1003")}}, "invalidConnectionState")
}

// A call is transferred to a device that still rings.
func TestTransferEarly(t *testing.T) {
	const consulting = talking + "CHANNEL_CREATE id=C of=A dir=outbound who=1003@pbx.test\nCHANNEL_PROGRESS id=C\n"
	for name, refused := range map[string]string{
		"": "", "who waits has gone": "api uuid_transfer", "FreeSWITCH does not want to": "api uuid_kill", "the telephone has gone": "api uuid_kill A",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, LinkConfig{}, "1001", "1002", "1003")
			tr.tell(talking)
			own := tr.must(uacsta.ConsultationCall{ExistingCall: uacsta.Conn("A", "1001"), ConsultedDevice: uacsta.Dev("1003")}).Text("initiatedCall/callID")
			tr.tell(strings.TrimPrefix(consulting, talking))
			tr.hears("1003", "Delivered 1003 alerting newCall")
			tr.settle()
			for _, device := range []string{"1001", "1002"} {
				tr.core.mu.Lock()
				delete(tr.core.told, device)
				tr.core.mu.Unlock()
			}
			transfer := uacsta.TransferCall{HeldCall: uacsta.Conn("A", "1001"), ActiveCall: uacsta.Conn(own, "1001")}
			if tr.refuse = refused; refused != "" {
				if gone := refused == "api uuid_kill A"; gone { // the event of its end arrives between command and reply
					tr.link.inbox.Post(func() {
						tr.link.perform(&transfer, func(any, error) {})
						tr.link.handle(event{headers: map[string]string{"Event-Name": "CHANNEL_HANGUP", "Unique-ID": "A", "Hangup-Cause": "NORMAL_CLEARING"}})
					})
				} else {
					tr.refused(transfer, "resourceBusy")
				}
				if stays := refused == "api uuid_kill"; stays {
					tr.hears("1001")
					tr.tell("CHANNEL_HANGUP id=A why=NORMAL_CLEARING")
				}
				tr.hears("1001", "ConnectionCleared 1001 null normalClearing", "ConnectionCleared 1001 null normalClearing")
				return
			}
			tr.must(transfer)
			tr.gives("api uuid_transfer B 1003 XML default")
			tr.tell("CHANNEL_HANGUP id=A why=NORMAL_CLEARING\nCHANNEL_HANGUP id=C why=ORIGINATOR_CANCEL\nCHANNEL_CREATE id=D of=B dir=outbound who=1003@pbx.test\nCHANNEL_PROGRESS id=D\nCHANNEL_ANSWER id=D")
			tr.hears("1001", "Transfered 1001 null transfer")
			tr.hears("1002", "Transfered 1001 connected transfer", "Delivered 1003 connected redirected", "Established 1003 connected redirected")
			tr.hears("1003", "ConnectionCleared 1003 null callCancelled", "Delivered 1003 alerting redirected", "Established 1003 connected redirected")
		})
	}
}

// The dialplan says whose call it forwards; a call that comes from elsewhere says so itself.
func TestForwarded(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002", "1003")
	tr.tell(`CHANNEL_CREATE id=A dir=inbound who=1001@pbx.test to=1002
csta::forward From=1002 To=1003 Reason=busy id=A
csta::forward From=1002 To=1003 Reason=whim id=A
CHANNEL_CREATE id=B of=A dir=outbound who=1003@pbx.test
CHANNEL_PROGRESS id=B`)
	tr.hears("1002", "Diverted 1002 null callForwardBusy")
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "Diverted 1002 connected callForwardBusy", "Delivered 1003 connected callForwardBusy")
	tr.hears("1003", "Delivered 1003 alerting callForwardBusy")
	if c := tr.link.calls["A"]; c.Redirected != "1002" {
		t.Errorf("the last redirecting device is %q", c.Redirected)
	}
	tr.tell("CHANNEL_CREATE id=C dir=inbound from=5550100 to=1002 Caller-RDNIS=5550199\nCHANNEL_CREATE id=D dir=inbound from=5550100 to=1002 Caller-RDNIS=a'b")
	if c, d := tr.link.calls["C"], tr.link.calls["D"]; c.Redirected != "5550199" || d.Redirected != "" {
		t.Errorf("the last redirecting devices are %q, %q", c.Redirected, d.Redirected)
	}
}

// Telephones are made to answer in the way that is configured.
func TestAnswer(t *testing.T) {
	answer := uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("A", "1002")}
	models := []Model{
		{Agent: regexp.MustCompile("^Yealink"), Answer: &Notify{"ACTION-URI", "message/sipfrag", "key=OK"}, Resume: &Notify{"ACTION-URI", "message/sipfrag", "key=F_HOLD"}},
		{Agent: regexp.MustCompile("^Poly"), Answer: &Notify{"ACTION-URI", "application/JSON", `{"Ref":"{call-id}"}`}},
		{Agent: regexp.MustCompile("^OpenStage"), CSTA: true},
	}
	register := "sofia::register from-user=1002 profile-name=desk user-agent="
	tell := "sendevent NOTIFY\nprofile: desk\nuser: 1002\nhost: pbx.test\n"
	notify := tell + "event-string: ACTION-URI\ncontent-type: "
	csta := string(uacsta.Encode(answer, uacsta.Edition3).Bytes())
	for name, tt := range map[string]struct{ how, before, want string }{
		"talk":              {AnswerTalk, register + "Yealink", "api uuid_phone_event B talk"},
		"a key":             {AnswerKeys, register + "Yealink", notify + "message/sipfrag\nContent-Length: 6\n\nkey=OK"},
		"by Call-ID":        {AnswerKeys, register + "PolyEdge", notify + "application/JSON\nContent-Length: 13\n\n{\"Ref\":\"x@1\"}"},
		"by uaCSTA":         {AnswerKeys, register + "OpenStage", fmt.Sprintf("%sevent-string: uaCSTA\ncontent-type: application/csta+xml\nContent-Length: %d\n\n%s", tell, len(csta), csta)},
		"another maker":     {AnswerKeys, register + "snom", "api uuid_phone_event B talk"},
		"two calls":         {AnswerKeys, register + "Yealink\n" + strings.NewReplacer("=A", "=X", "=B", "=Y").Replace(calls1002), "api uuid_phone_event B talk"},
		"an odd Call-ID":    {AnswerKeys, register + "PolyEdge", "api uuid_phone_event B talk"},
		"answers by itself": {AnswerAuto, "", "bgapi originate {csta_call=#,sip_auto_answer=true,ignore_early_media=true,originate_timeout=30}user/1002@pbx.test 'unset:sip_h_Call-Info,intercept:A' inline\nJob-UUID: #"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, LinkConfig{Answer: tt.how, Models: models}, "1001", "1002")
			if tt.before != "" {
				tr.tell(tt.before)
			}
			callID := "x@1"
			if name == "an odd Call-ID" {
				callID = `x"}`
			}
			tr.tell(strings.Replace(calls1002, "id=B of", "variable_sip_call_id="+callID+" id=B of", 1))
			tr.must(answer)
			tr.gives(tt.want)
			if tt.how != AnswerAuto {
				return
			}
			tr.hears("1002", "Delivered 1002 alerting newCall")
			tr.tell(fmt.Sprintf("CHANNEL_CREATE id=%[1]s dir=outbound who=1002@pbx.test\nCHANNEL_PROGRESS id=%[1]s\nCHANNEL_ANSWER id=%[1]s\nCHANNEL_HANGUP id=B why=PICKED_OFF\nCHANNEL_BRIDGE id=%[1]s a=%[1]s b=A", tr.made()))
			tr.hears("1002", "Established 1002 connected newCall")
		})
	}
	tr := newTrial(t, LinkConfig{Answer: AnswerKeys, Models: models}, "1002")
	tr.tell(register + "Yealink\n" + talking + "CHANNEL_HOLD id=B") // by hand
	tr.must(uacsta.RetrieveCall{CallToBeRetrieved: answer.CallToBeAnswered})
	tr.gives(notify + "message/sipfrag\nContent-Length: 10\n\nkey=F_HOLD")
	tr.tell("CHANNEL_UNHOLD id=B")
	tr.settle()
	tr.must(uacsta.HoldCall{CallToBeHeld: answer.CallToBeAnswered})
	tr.tell("CHANNEL_HOLD id=B")
	tr.must(uacsta.RetrieveCall{CallToBeRetrieved: answer.CallToBeAnswered})
	tr.gives("api uuid_hold off B")
	tr = newTrial(t, LinkConfig{}, "9700")
	tr.tell(inQueue)
	tr.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("A", "9700")})
	tr.gives("api uuid_answer A")
	tr.hears("9700", "Queued 9700 queued enteringDistribution", "Established 9700 connected newCall")
	tr.refused(uacsta.HoldCall{CallToBeHeld: uacsta.Conn("A", "9700")}, "invalidConnectionState")
	tr.must(uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn("A", "9700"), TransferredTo: uacsta.Dev("1003")})
	tr.gives("api uuid_transfer A 1003 XML default")
	tr.hears("9700", "Transfered 9700 null singleStepTransfer")
}

// The events of a call picked up by hand say so, and likewise if a client has it picked up.
func TestPickup(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002", "1003")
	tr.tell(calls1002 + "CHANNEL_CREATE id=C dir=inbound who=1003@pbx.test to=**1002\nCHANNEL_ANSWER id=C\nCHANNEL_HANGUP id=B why=PICKED_OFF\nCHANNEL_BRIDGE id=C a=C b=A")
	tr.hears("1002", "Delivered 1002 alerting newCall", "Diverted 1002 null callPickup")
	tr.hears("1003", "ServiceInitiated 1003 initiated normal", "Originated 1003 connected newCall", "ConnectionCleared 1003 null callPickup", "Established 1003 connected callPickup")
	tr.tell("CHANNEL_HANGUP id=A why=NORMAL_CLEARING\nCHANNEL_HANGUP id=C why=NORMAL_CLEARING\n" + calls1002)
	tr.hears("1003", "ConnectionCleared 1001 connected normalClearing", "ConnectionCleared 1003 null normalClearing")
	tr.must(uacsta.DirectedPickupCall{CallToBePickedUp: uacsta.Conn("A", "1002"), RequestingDevice: uacsta.Dev("1003")})
	tr.tell(fmt.Sprintf("CHANNEL_CREATE id=%[1]s dir=outbound who=1003@pbx.test\nCHANNEL_HANGUP id=%[1]s why=NO_ANSWER", tr.made()))
	tr.hears("1003", "Failed 1003 null callNotAnswered")
	tr.must(uacsta.DirectedPickupCall{CallToBePickedUp: uacsta.Conn("A", "1002"), RequestingDevice: uacsta.Dev("1003")})
	tr.tell(fmt.Sprintf("CHANNEL_CREATE id=%[1]s dir=outbound who=1003@pbx.test\nCHANNEL_BRIDGE id=%[1]s a=%[1]s b=A\nCHANNEL_HANGUP id=B why=PICKED_OFF", tr.made()))
	tr.hears("1003", "Established 1003 connected callPickup")
	tr.hears("1002", "Delivered 1002 alerting newCall", "Diverted 1002 null callPickup")
	tr.tell(fmt.Sprintf("CHANNEL_HANGUP id=%s why=NORMAL_CLEARING\nCHANNEL_HANGUP id=A why=NORMAL_CLEARING\n%s", tr.made(), calls1002))
	tr.tell("CHANNEL_HANGUP id=B why=PICKED_OFF\nCHANNEL_HANGUP id=A why=NORMAL_CLEARING") // by an unknown party
	tr.hears("1002", "Delivered 1002 alerting newCall", "ConnectionCleared 1001 alerting normalClearing", "ConnectionCleared 1002 null normalClearing")
	if len(tr.link.calls) != 0 || len(tr.link.channels) != 0 {
		t.Errorf("%d calls, %d channels are left", len(tr.link.calls), len(tr.link.channels))
	}
	tr.refused(uacsta.DirectedPickupCall{CallToBePickedUp: uacsta.Conn("A", "1002"), RequestingDevice: uacsta.Dev("1003")}, "invalidConnectionID")
}

// The call group of FreeSWITCH's directory says whose call is picked up: the one that has rung
// longest.
func TestGroupPickup(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1003")
	group := uacsta.GroupPickupCall{NewDestination: uacsta.Dev("1003")}
	tr.refused(group, "invalidPickUpDeviceID")
	tr.database["group 1003"], tr.database["group 1004"], tr.database["group 1005"] = "sales", "sales", "sales"
	tr.refused(group, "noCallToAnswer")
	tr.tell(calls1002)
	for _, other := range []string{"1004", "1003", "1005"} {
		tr.tell(strings.NewReplacer("id=A", "id=A"+other, "of=A", "of=A"+other, "id=B", "id=B"+other, "1001", "9", "1002", other).Replace(calls1002))
	}
	tr.must(group)
	tr.gives("bgapi originate {csta_call=#,origination_caller_id_number=9,ignore_early_media=true,originate_timeout=30}user/1003@pbx.test &intercept(A1004)\nJob-UUID: #")
	tr.tell("CHANNEL_HANGUP id=B1004 why=NO_ANSWER")
	other := uacsta.Dev("support")
	tr.refused(uacsta.GroupPickupCall{NewDestination: uacsta.Dev("1003"), PickGroup: &other}, "invalidPickUpDeviceID")
	own := uacsta.Dev("sales")
	picked := tr.must(uacsta.GroupPickupCall{NewDestination: uacsta.Dev("1003"), PickGroup: &own})
	if id := picked.Text("pickedCall/callID"); id != "A1005" {
		t.Errorf("%s", picked)
	}
	tr.gives("bgapi originate {csta_call=#,origination_caller_id_number=9,ignore_early_media=true,originate_timeout=30}user/1003@pbx.test &intercept(A1005)\nJob-UUID: #")
	tr.refuse = "api list_users"
	tr.refused(group, "resourceBusy")
	tr.refused(uacsta.GroupPickupCall{NewDestination: uacsta.Dev("1003 1004")}, "invalidDestination")
}

// The table of list_users is FreeSWITCH's own, or nothing is taken from it.
func TestCellOf(t *testing.T) {
	recorded := recordings.Replies(t, "snapshot")["api list_users user 1001"]
	for table, want := range map[string]string{
		recorded: "", strings.ReplaceAll(recorded, "||", "|sales|"): "sales", strings.ReplaceAll(recorded, "||", "|sales||"): "", "": "", "-ERR none": "",
		"userid|domain|callgroup\n1001|pbx.test": "", "callgroup|domain|userid\r\nsales|pbx.test|1001\r\n": "sales",
	} {
		if got := cellOf(table, "callgroup", "1001", "pbx.test"); got != want || recorded == "" {
			t.Errorf("%q: %q, not %q", table, got, want)
		}
	}
}

// Calls that FreeSWITCH has not begun, and commands that it has not answered, are so many at most.
func TestFull(t *testing.T) {
	tr := newTrial(t, LinkConfig{})
	call := uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002")}
	for range maxWaiting {
		tr.must(call)
	}
	tr.refused(call, "resourceBusy")
	l := fuzzed(t) // no one answers
	for range maxWaiting {
		l.query(api("status"), func(string, error) {})
	}
	var refused error
	l.query(api("status"), func(_ string, err error) { refused = err })
	if !errors.Is(refused, gate.ErrTooManyWaiting) {
		t.Errorf("one command more: %v", refused)
	}
}

// Parking spaces are occupied or free, and the parking device learns where the call is.
func TestPark(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002", "70")
	park := uacsta.ParkCall{Parking: uacsta.Conn("A", "1002"), ParkTo: uacsta.Dev("70")}
	tr.tell(calls1002)
	tr.refused(park, "invalidConnectionState")
	tr.tell("CHANNEL_ANSWER id=B")
	tr.must(park)
	tr.gives("api uuid_transfer A 'valet_park:csta 70' inline")
	tr.hears("1002", "Delivered 1002 alerting newCall", "Established 1002 connected newCall")
	tr.tell("CHANNEL_HANGUP id=B why=NORMAL_CLEARING\nvalet_parking::info Action=hold Valet-Extension=70 id=A")
	tr.hears("1002", "Diverted 1002 null park")
	tr.hears("70", "Queued 70 queued park")
	tr.tell("CHANNEL_CREATE id=C dir=inbound who=1001@pbx.test to=1002\nCHANNEL_CREATE id=D of=C dir=outbound who=1002@pbx.test\nCHANNEL_PROGRESS id=D\nCHANNEL_ANSWER id=D")
	park.Parking.CallID = "C"
	tr.refused(park, "invalidParkToDeviceState")
	park.ParkTo = uacsta.Dev("7'0")
	tr.refused(park, "invalidParkToDeviceID")
}

// Conferences are devices, but for those of services.
func TestRooms(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002", "3000")
	tr.tell(talking + "conference::maintenance Action=add-member Conference-Name=3000-pbx.test id=A\nconference::maintenance Action=add-member Conference-Name=3000-pbx.test id=B\nconference::maintenance Action=start-talking Conference-Name=3000-pbx.test id=B")
	tr.hears("3000", "Established 3000 connected newCall")
	tr.tell("conference::maintenance Action=del-member Conference-Name=3000-pbx.test id=B")
	tr.hears("3000", "ConnectionCleared 1002 connected normalClearing")
	if ch := tr.link.channels["B"]; ch == nil || ch.State != uacsta.Connected || ch.call == tr.link.channels["A"].call {
		t.Errorf("who has left the conference is %+v", ch)
	}
	tr.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn("A", "3000")})
	tr.gives("api conference 3000-pbx.test hup all")
	tr.tell("CHANNEL_HANGUP id=A why=NORMAL_CLEARING\nCHANNEL_HANGUP id=B why=NORMAL_CLEARING")
	tr.hears("3000", "ConnectionCleared 1001 connected normalClearing", "ConnectionCleared 3000 null normalClearing")
	if len(tr.link.calls) != 0 {
		t.Errorf("%d calls are left", len(tr.link.calls))
	}
	join := uacsta.SingleStepConferenceCall{ActiveCall: uacsta.Conn("A", "1001"), DeviceToJoin: uacsta.Dev("1003"), ParticipationType: "none"}
	tr.tell(talking)
	tr.refused(join, "invalidParticipationType")
	join.ParticipationType = uacsta.ParticipationSilent
	tr.must(join)
	tr.gives("bgapi originate {csta_call=#,origination_caller_id_number=1001,ignore_early_media=true,originate_timeout=30}user/1003@pbx.test &conference(csta-#@default+flags{mute})\nJob-UUID: #")
}

// Another device comes to a call of two.
func TestAddParty(t *testing.T) { synctest.Test(t, testAddParty) }

func testAddParty(t *testing.T) {
	p := newPlayer(t, "conference-room", false, "1001", "1002", "1003")
	join := uacsta.SingleStepConferenceCall{ActiveCall: p.on("1001", uacsta.Connected), DeviceToJoin: uacsta.Dev("1003"), ParticipationType: uacsta.ParticipationActive}
	p.does(join, 2)
	p.tells("1001", []string{"Conferenced 1001 connected activeParticipation", "ConnectionCleared 1003 connected normalClearing"})
	p.tells("1003", []string{"Conferenced 1001 connected activeParticipation", "ConnectionCleared 1003 null normalClearing"})
	if got, want := p.end(), "1001 connected, 1002 connected"; got != want {
		t.Errorf("%s are there, not %s", got, want)
	}
}

// A predictive call that is not answered fails at the device that requested it. Other numbers
// are called by a gateway.
func TestPredict(t *testing.T) {
	tr := newTrial(t, LinkConfig{QueuePrefix: "02", Outside: "sofia/gateway/gw/{number}", Queues: func(number string) bool { return number == "9500" }}, "1002", "029500")
	predict := uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("029500"), CalledDirectoryNumber: uacsta.Dev("05550100")}
	tr.must(predict)
	tr.gives("bgapi originate {csta_call=#,csta_calling=029500,ignore_early_media=true,originate_timeout=30}sofia/gateway/gw/05550100 9500 XML default\nJob-UUID: #")
	var job string
	for job = range tr.link.awaited {
		continue
	}
	done := make(chan struct{})
	tr.link.inbox.Post(func() {
		tr.link.handle(event{headers: map[string]string{"Event-Name": "BACKGROUND_JOB", "Job-UUID": job}, body: "-ERR USER_BUSY\n"})
		close(done)
	})
	<-done
	tr.hears("029500", "Failed 029500 null busy")
	for _, events := range []string{"CHANNEL_CREATE id=# dir=outbound who=1002@pbx.test", "CHANNEL_CREATE id=# dir=outbound who=1002@pbx.test\nCHANNEL_PROGRESS id=#"} {
		predict.CalledDirectoryNumber = uacsta.Dev("1002")
		tr.tell("sofia::register from-user=1002")
		tr.must(predict)
		tr.tell(strings.ReplaceAll(events+"\nCHANNEL_HANGUP id=# why=CALL_REJECTED", "#", tr.made()))
		tr.hears("029500", "Failed 029500 null busy")
	}
	tr.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("05550199"), CalledDirectoryNumber: uacsta.Dev("1001")}) // a telephone, or nothing
	tr.gives("bgapi originate {csta_call=#,origination_caller_id_number=1001,csta_calling=05550199,ignore_early_media=true,originate_timeout=30}user/05550199@pbx.test 1001 XML default\nJob-UUID: #")
	tr.core.told = map[string][]string{}
	tr.tell("sofia::register from-user=1001")
	predict.CallingDevice = uacsta.Dev("1001") // no queue: it rings when the called device has answered
	tr.must(predict)
	tr.gives("bgapi originate {csta_call=#,csta_calling=1001,ignore_early_media=true,originate_timeout=30}user/1002@pbx.test 1001 XML default\nJob-UUID: #")
	tr.tell(strings.ReplaceAll("CHANNEL_CREATE id=# dir=outbound who=1002@pbx.test\nCHANNEL_PROGRESS id=#\nCHANNEL_ANSWER id=#\nCHANNEL_CREATE id=D of=# dir=outbound who=1001@pbx.test\nCHANNEL_PROGRESS id=D\nCHANNEL_ANSWER id=D", "#", tr.made()))
	tr.hears("1002", "Delivered 1002 alerting newCall", "Established 1002 connected newCall", "Delivered 1001 connected newCall", "Established 1001 connected newCall")
	for _, number := range []string{"10 01", "0290151234567", "0151234567"} { // no queue, and no telephone, but it would be dialled
		predict.CallingDevice = uacsta.Dev(number)
		tr.refused(predict, "invalidCallingDeviceID")
	}
}

// Messages are configured names or files in a folder, never anything that FreeSWITCH could
// execute.
func TestMessages(t *testing.T) {
	tr := newTrial(t, LinkConfig{Sounds: "/var/sounds"}, "1001")
	tr.tell(talking)
	play := func(name string) uacsta.PlayMessage {
		return uacsta.PlayMessage{MessageToBePlayed: name, OverConnection: uacsta.Conn("A", "1001")}
	}
	for _, name := range []string{"", "../x.wav", "a/../b", "a b", "say::x", "/etc/passwd", "a//b", "a\nbgapi system x", "tone_stream://%(1,0,1)", "${x}", strings.Repeat("a", 129)} {
		tr.refused(play(name), "invalidMsgID")
	}
	tr.must(play("ivr/welcome-1.wav"))
	tr.gives("api uuid_broadcast A /var/sounds/ivr/welcome-1.wav aleg")
	tr.refused(uacsta.RecordMessage{CallToBeRecorded: uacsta.Conn("A", "1001")}, "serviceNotSupported")
	started := "PLAYBACK_START id=A Playback-File-Path=/var/sounds/"
	stopped := "PLAYBACK_STOP id=A Playback-Status=break Playback-File-Path=/var/sounds/"
	tr.tell(started + "ivr/welcome-1.wav")
	tr.must(uacsta.Stop{Connection: uacsta.Conn("A", "1001")})
	tr.gives("api uuid_break A")
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "Delivered 1002 connected newCall", "Established 1002 connected newCall", "Play 1001  normal")
	tr.tell(stopped + "ivr/welcome-1.wav")
	tr.hears("1001", "Stop 1001  endOfMessageDetected")
	long, short, service := 24*3600*1000+1, 1, play("moment")
	service.Duration = &long
	tr.refused(service, "invalidParameterValue")
	service.Duration = &short
	tr.must(service)
	tr.gives("api uuid_broadcast A /var/sounds/moment aleg")
	tr.tell(started + "moment.wav") // its time counts from now
	for deadline := time.Now().Add(patience); tr.gave() != "api uuid_break A" && time.Now().Before(deadline); {
		tr.settle()
	}
	tr.tell(stopped + "moment.wav")
	tr.hears("1001", "Play 1001  normal", "Stop 1001  messageDurationExceeded")
	service = play("until-a-key")
	service.Termination = &uacsta.TerminatingConditions{DTMFDigitDetected: true}
	tr.must(service)
	tr.gives("api uuid_broadcast A /var/sounds/until-a-key aleg")
	tr.tell(started + "until-a-key\nDTMF id=A DTMF-Digit=1")
	tr.gives("api uuid_break A")
	tr.tell(stopped + "until-a-key")
	tr.hears("1001", "Play 1001  normal", "DtmfDetected 1001  dTMFDigitDetected1", "Stop 1001  dTMFDigitDetected")
	tr.must(play("broken"))
	tr.tell("CHANNEL_EXECUTE_COMPLETE id=A Application-Data=/var/sounds/broken Application-Response=PLAYBACK%20ERROR")
	tr.hears("1001", "Stop 1001  blocked")
	for range maxMessages {
		_, _ = tr.ask(play("x" + newID()))
	}
	tr.refused(play("y"), "resourceBusy")
}

// FreeSWITCH plays messages one after the other. Stop ends the one that plays, and one that waits as soon as it starts,
// and nothing else that FreeSWITCH plays.
func TestMessagesWait(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1002", "029500")
	tr.link.cfg.QueuePrefix = "02"
	tr.tell("CHANNEL_CREATE id=A dir=inbound who=1001@pbx.test to=9500\ncsta::queue Queue=9500 id=A")
	tr.hears("029500", "Queued 029500 queued enteringDistribution")
	at := uacsta.Conn("A", "029500")
	for _, name := range []string{"one", "two", "one", "three"} {
		tr.must(uacsta.PlayMessage{MessageToBePlayed: name, OverConnection: at})
	}
	tr.gives("api uuid_broadcast A three aleg")
	tr.tell("PLAYBACK_START id=A Playback-File-Path=/usr/sounds/one.wav")
	tr.hears("029500", "Play 029500  normal")
	tr.must(uacsta.Stop{Connection: at, MessageToBeStopped: "two"})
	tr.gives("api uuid_broadcast A three aleg") // two waits
	tr.tell("PLAYBACK_STOP id=A Playback-File-Path=/usr/sounds/one.wav Playback-Status=done\nPLAYBACK_START id=A Playback-File-Path=/usr/sounds/two.wav")
	tr.gives("api uuid_break A")
	tr.tell("PLAYBACK_STOP id=A Playback-File-Path=/usr/sounds/two.wav Playback-Status=break")
	tr.hears("029500", "Stop 029500  endOfMessageDetected", "Play 029500  normal", "Stop 029500  endOfMessageDetected")
	tr.tell("PLAYBACK_START id=A Playback-File-Path=silence_stream://-1\nPLAYBACK_STOP id=A Playback-File-Path=silence_stream://-1 Playback-Status=break")
	tr.hears("029500")
	tr.tell("PLAYBACK_START id=A Playback-File-Path=/usr/sounds/one.wav")
	tr.must(uacsta.Stop{Connection: at})
	tr.tell("PLAYBACK_STOP id=A Playback-File-Path=/usr/sounds/one.wav Playback-Status=break\nCHANNEL_EXECUTE_COMPLETE id=A Application-Data=three Application-Response=FILE%20NOT%20FOUND")
	tr.hears("029500", "Play 029500  normal", "Stop 029500  endOfMessageDetected", "Stop 029500  resourcesNotAvailable")
	tr.refused(uacsta.Stop{Connection: at}, "invalidMsgID")
}

// FreeSWITCH stores the features. A setting that does not change causes no event.
func TestFeatures(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1002")
	dnd := uacsta.SetDoNotDisturb{Device: uacsta.Dev("1002"), DoNotDisturbOn: true}
	tr.must(dnd)
	tr.must(dnd)
	tr.hears("1002", "DoNotDisturb")
	tr.gives("sendevent PHONE_FEATURE\nprofile: internal\nuser: 1002\nhost: pbx.test\ndevice: 1002\nFeature-Event: DoNotDisturbEvent\ndoNotDisturbOn: true")
	if got := tr.must(uacsta.GetDoNotDisturb{Device: uacsta.Dev("1002")}).Text("doNotDisturbOn"); got != "true" || tr.database["csta_dnd/1002"] != "true" {
		t.Errorf("do not disturb is %s; %v is kept", got, tr.database)
	}
	sofia := "PHONE_FEATURE_SUBSCRIBE user=1002 call-id=s1 profile_name=desk "
	tr.tell(sofia + "Feature-Action=SetDoNotDisturb Feature-Enabled=true") // already on: the lamp is updated, without an event
	tr.hears("1002")
	tr.gives("sendevent PHONE_FEATURE\nprofile: desk\nuser: 1002\nhost: pbx.test\ndevice: 1002\nFeature-Event: DoNotDisturbEvent\ndoNotDisturbOn: true")
	tr.tell(sofia + "Feature-Action=SetCallForward Feature-Enabled=true Action-Name=forward_busy Action-Value=1003")
	tr.tell(sofia + "Feature-Action=SetCallForward Feature-Enabled=false Action-Name=forward_busy")
	tr.hears("1002", "Forwarding", "Forwarding")
	tr.gives("sendevent PHONE_FEATURE\nprofile: desk\nuser: 1002\nhost: pbx.test\ndevice: 1002\nFeature-Event: ForwardingEvent\nforward_busy: 1003\nforward_busy_enabled: false")
	list := tr.must(uacsta.GetForwarding{Device: uacsta.Dev("1002")})
	var res uacsta.GetForwardingResponse
	if err := list.Decode(&res); err != nil || len(res.ForwardingList) != 3 || res.ForwardingList[1].ForwardDN.ID != "1003" || res.ForwardingList[1].ForwardStatus {
		t.Errorf("%v: %+v", err, res)
	}
	bad := uacsta.Dev("1'\n2")
	tr.refused(uacsta.SetForwarding{Device: uacsta.Dev("1002"), ActivateForward: true, ForwardDN: &bad}, "invalidForwardingDestination")
	tr.refused(uacsta.SetForwarding{Device: uacsta.Dev("1002"), ActivateForward: true}, "invalidForwardingDestination")
	tr.refused(uacsta.SetForwarding{Device: uacsta.Dev("1002"), ForwardingType: uacsta.ForwardDND, ForwardDN: &bad}, "invalidForwardingType")
	tr.refused(uacsta.SetDoNotDisturb{Device: bad}, "invalidDeviceID")
	tr.refuse = "api db select/"
	tr.refused(uacsta.GetDoNotDisturb{Device: uacsta.Dev("1003")}, "resourceBusy")
	tr.refuse = "api db delete/"
	dnd.DoNotDisturbOn = false
	tr.refused(dnd, "resourceBusy")
}

// A change of waiting messages is reported once, whatever caused it.
func TestMessageWaiting(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1002")
	tr.tell("MESSAGE_WAITING MWI-Messages-Waiting=yes MWI-Message-Account=sip:1002@pbx.test\nMESSAGE_WAITING MWI-Messages-Waiting=yes MWI-Message-Account=sip:1002@pbx.test")
	tr.hears("1002", "MessageWaiting")
	if got := tr.must(uacsta.GetMessageWaitingIndicator{Device: uacsta.Dev("1002")}).Text("messageWaitingOn"); got != "true" {
		t.Errorf("messages wait: %s", got)
	}
	tr.must(uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev("1002")})
	tr.gives("sendevent MESSAGE_WAITING\nMWI-Messages-Waiting: no\nMWI-Message-Account: sip:1002@pbx.test")
	tr.refused(uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev("1\n2")}, "invalidDeviceID")
}

// The application of a channel older than the link tells what it does.
func TestLearn(t *testing.T) {
	tr := newTrial(t, LinkConfig{Queues: func(number string) bool { return number == "9500" }})
	row := func(id, dest, application, data string) string {
		return fmt.Sprintf(`{"uuid":%q,"call_uuid":%q,"direction":"inbound","dest":%q,"callstate":"ACTIVE","presence_id":"1001@pbx.test","cid_num":"1001","application":%q,"application_data":%q}`, id, id, dest, application, data)
	}
	rows := strings.Join([]string{
		row("A", "9700", "callcenter", "9700@pbx.test"), row("B", "9600", "fifo", "9600@pbx.test in"), row("C", "501", "valet_park", "lot 501"),
		row("D", "3000", "conference", "3000@default"), row("E", "3000", "conference", "3000@default"), row("F", "9500", "playback", "x"), row("G", "1002", "playback", "x"),
	}, ",")
	done := make(chan error, 1)
	tr.link.inbox.Post(func() { tr.link.learns(`{"rows":[`+rows+`]}`, func(err error) { done <- err }) })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]int{"9700": 1, "9600": 1, "501": 1, "3000": 1, "9500": 1, "1001": 7} {
		var calls uacsta.SnapshotDeviceResponse
		if err := tr.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).Decode(&calls); err != nil {
			t.Fatal(err)
		}
		if got := len(calls.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo); got != want {
			t.Errorf("%s is in %d calls, not %d", device, got, want)
		}
	}
}

// A call of a real FreeSWITCH, as it lists its channels.
func TestLearnReal(t *testing.T) {
	tr := newTrial(t, LinkConfig{})
	done := make(chan error, 1)
	tr.link.inbox.Post(func() {
		tr.link.learns(recordings.Replies(t, "snapshot")["api show channels as json"], func(err error) { done <- err })
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var parties []string
	for _, c := range tr.link.calls {
		for _, ch := range c.Parties {
			parties = append(parties, fmt.Sprintf("%s %s in %s to %s", ch.Device, ch.State, c.Calling, c.Called))
		}
	}
	if want := []string{"1001 connected in 1001 to 1002", "1002 connected in 1001 to 1002"}; len(tr.link.calls) != 1 || !slices.Equal(parties, want) {
		t.Errorf("%d calls, %q, not %q", len(tr.link.calls), parties, want)
	}
}

// there are the calls of a link: their identifiers with the devices and states, and who calls whom.
func (tr *trial) there() []string {
	found := make(chan []string, 1)
	tr.link.inbox.Post(func() {
		var list []string
		for id, c := range tr.link.calls {
			var parties []string
			for _, ch := range c.Parties {
				parties = append(parties, strings.TrimSpace(ch.Device+" "+string(ch.State)+" "+ch.Trunk))
			}
			list = append(list, fmt.Sprintf("%s: %s to %s: %s", id[:min(len(id), 4)], c.Calling, c.Called, strings.Join(parties, ", ")))
		}
		slices.Sort(list)
		found <- list
	})
	return <-found
}

// learns has the link begin again, with a list of channels.
func (tr *trial) learns(list string) {
	tr.t.Helper()
	done := make(chan error, 1)
	tr.link.inbox.Post(func() {
		tr.link.begin(tr.core)
		tr.link.learns(list, func(err error) { done <- err })
	})
	if err := <-done; err != nil {
		tr.t.Fatal(err)
	}
}

// Channels of a real FreeSWITCH in many situations, as it lists them. What the rows do not say, variables do.
func TestLearnShown(t *testing.T) {
	const a, b, c, made, agent = "ea8c1de3-d13a-4b83-9f6a-1de3721452d1", "d2b98560-352c-473f-9120-5789a696a3db", "c7325e82-6e60-4de9-ad6d-5c1dac1090d1",
		"b95e5da5-2bef-46c1-a481-b2971ac2942d", "df98d713-6354-4ca6-8627-7efef9e67ca0"
	shown := recordings.Shown(t)
	for title, want := range map[string][]string{
		"two callers in a queue of the dialplan (answer, playback silence_stream)": {"2920: 1000 to 9500: 1000 connected, 029500 queued", "bab0: 1001 to 9500: 1001 connected, 029500 queued"},
		"1001 rings":         {"ea8c: 1000 to 1001: 1000 connected, 1001 alerting"},
		"1000 and 1001 talk": {"ea8c: 1000 to 1001: 1000 connected, 1001 connected"},
		"1000 consults 1002, which rings; 1001 waits parked": {"d2b9: 1001 to park: 1001 connected, 1000 hold", "ea8c: 1000 to 1001: 1000 connected, 1002 alerting"},
		"1000 consults 1002":      {"d2b9: 1001 to park: 1001 connected, 1000 hold", "ea8c: 1000 to 1001: 1000 connected, 1002 connected"},
		"conference of a service": {"b6bc: 1000 to 1001: 1000 connected, 1001 connected, 1002 connected"},
		"echo":                    {"c9fc: 1000 to 9196: 1000 connected"},
		"mod_fifo":                {"8ee5: 1000 to 9800: 1000 connected, 029800 queued"},
		"mod_callcenter, waiting or agent called":        {"9d9a: 1000 to 9700: 1000 connected, 029700 queued"},
		"mod_callcenter, agent rings":                    {"9d9a: 1000 to 9700: 1000 connected, 1002 alerting"},
		"MakeCall, the calling telephone rings":          {"made: 1000 to 1001: 1000 initiated"},
		"MakeCall, the called telephone rings":           {"made: 1000 to 1001: 1000 connected, 1001 alerting"},
		"out by the gateway carrier (and its other end)": {"dba4: 1000 to 667123: 1000 connected, 7123 connected 01carrier", "f932: 1000 to 7123: 1000 connected"},
	} {
		tr := newTrial(t, LinkConfig{QueuePrefix: "02", TrunkPrefix: "01", Queues: func(number string) bool { return number == "9500" }})
		tr.database[b+" csta_waits_for"] = a
		tr.database[made+" csta_call"], tr.database[made+" csta_calling"] = "made", "1000"
		tr.database[agent+" cc_member_session_uuid"] = "9d9aee26-e7f5-4707-ba6f-28a13110a152"
		tr.database["0d2327fe-95ac-402d-961b-5eaf009ac7e5 sip_gateway_name"] = "carrier"
		if shown[title] == "" {
			t.Fatalf("there is no %q", title)
		}
		tr.learns(shown[title])
		if got := tr.there(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", title, got, want)
		}
		switch title {
		case "mod_callcenter, agent rings": // and does not answer
			tr.tell("CHANNEL_HANGUP id=" + agent + " why=NO_ANSWER")
			if got, want := tr.there(), []string{"9d9a: 1000 to 9700: 1000 connected, 029700 queued"}; !slices.Equal(got, want) {
				t.Errorf("%q, not %q", got, want)
			}
		case "1000 consults 1002":
			tr.tell("CHANNEL_HANGUP id=" + c + " why=NORMAL_CLEARING")
			tr.must(uacsta.ReconnectCall{ActiveCall: uacsta.Conn(a, "1000"), HeldCall: uacsta.Conn(b, "1000")})
		}
	}
}

// When a link comes up again, its calls are what they were: they keep their identifiers, queues and trunks. Events that
// come before the list count after it.
func TestLearnAgain(t *testing.T) {
	tr := newTrial(t, LinkConfig{QueuePrefix: "02", TrunkPrefix: "01"})
	tr.learns(`{"row_count":0}`)
	tr.tell(`CHANNEL_CREATE id=A dir=inbound from=5550100 to=193190
csta::trunk Trunk=20 id=A
csta::queue Queue=9500 id=A
CHANNEL_ANSWER id=A
CHANNEL_CREATE id=B dir=inbound who=1001@pbx.test to=1002
CHANNEL_CREATE id=C of=B dir=outbound who=1002@pbx.test
CHANNEL_CREATE id=D of=B dir=outbound who=1002@pbx.test
CHANNEL_PROGRESS id=C`)
	tr.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1003"), CalledDirectoryNumber: uacsta.Dev("1004")})
	call := tr.made()
	tr.database["E csta_call"], tr.database["E csta_calling"] = call, "1003"
	tr.tell("CHANNEL_CREATE id=E dir=outbound who=1003@pbx.test variable_csta_call=" + call + "\nCHANNEL_PROGRESS id=E")
	before := tr.there()
	list := `{"rows":[{"uuid":"A","direction":"inbound","callstate":"ACTIVE","cid_num":"5550100","dest":"193190","application":"park","call_uuid":""},
{"uuid":"B","direction":"inbound","callstate":"EARLY","presence_id":"1001@pbx.test","cid_num":"1001","dest":"1002","application":"bridge","call_uuid":""},
{"uuid":"C","direction":"outbound","callstate":"RINGING","presence_id":"1002@pbx.test","cid_num":"1001","dest":"1002","call_uuid":"B"},
{"uuid":"D","direction":"outbound","callstate":"RINGING","presence_id":"1002@pbx.test","cid_num":"1001","dest":"1002","call_uuid":"B"},
{"uuid":"E","direction":"outbound","callstate":"RINGING","presence_id":"1003@pbx.test","cid_num":"1004","dest":"1003","call_uuid":"E"}]}`
	tr.learns(list)
	if got := tr.there(); !slices.Equal(got, before) {
		t.Errorf("%q, not %q", got, before)
	}
	done := make(chan error, 1)
	tr.link.inbox.Post(func() {
		tr.link.begin(tr.core)
		tr.link.receive(event{headers: map[string]string{"Event-Name": "CHANNEL_HANGUP", "Unique-ID": "A", "Hangup-Cause": "NORMAL_CLEARING"}})
		tr.link.receive(event{headers: map[string]string{"Event-Name": "CHANNEL_CREATE", "Unique-ID": "F", "Call-Direction": "outbound", "Other-Leg-Unique-ID": "B", "Channel-Presence-ID": "1005@pbx.test"}})
		tr.link.receive(event{headers: map[string]string{"Event-Name": "CHANNEL_PROGRESS", "Unique-ID": "F"}})
		tr.link.learns(list, func(err error) { done <- err })
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(before, func(call string) bool { return strings.HasPrefix(call, "A:") })
	want[slices.IndexFunc(want, func(call string) bool { return strings.HasPrefix(call, "B:") })] += ", 1005 alerting"
	wait.For(t, strings.Join(want, "; "), func() bool { return slices.Equal(tr.there(), want) })
}

// A channel of mod_loopback is no device: what it calls, its caller calls.
func TestLearnLoopback(t *testing.T) {
	tr := newTrial(t, LinkConfig{})
	tr.database["Y other_loopback_leg_uuid"] = "X"
	tr.learns(`{"rows":[{"uuid":"A","direction":"inbound","callstate":"EARLY","presence_id":"1001@pbx.test","cid_num":"1001","dest":"1002","call_uuid":""},
{"uuid":"X","name":"loopback/1003-a","direction":"outbound","callstate":"RINGING","dest":"1003","call_uuid":"A"},
{"uuid":"Y","name":"loopback/1003-b","direction":"inbound","callstate":"RINGING","dest":"1003","call_uuid":""},
{"uuid":"C","direction":"outbound","callstate":"RINGING","presence_id":"1003@pbx.test","cid_num":"1001","dest":"1003","call_uuid":"Y"}]}`)
	if got, want := tr.there(), []string{"A: 1001 to 1002: 1001 connected, 1003 alerting"}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}

// A device is in service as long as one of its telephones is registered.
func TestRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, LinkConfig{}, "1002")
		tr.tell("sofia::register from-user=1002 call-id=a\nsofia::register from-user=1002 call-id=b\nsofia::register from-user=1002 call-id=a")
		tr.hears("1002", "BackInService  normal")
		tr.database["contact 1002"] = "sofia/internal/sip:1002@127.0.0.1:5062"
		tr.tell("sofia::unregister from-user=1002 call-id=a")
		tr.link.inbox.Post(func() { tr.link.expire(time.Now().Add(2 * removal)) })
		tr.hears("1002")
		tr.tell("sofia::expire user=1002 call-id=b")
		tr.hears("1002", "OutOfService  normal")
		delete(tr.database, "contact 1002")
		tr.tell("sofia::register from-user=1002 call-id=a\nsofia::register from-user=1002 call-id=c\nsofia::unregister from-user=1002 call-id=c") // c has replaced a
		tr.link.inbox.Post(func() { tr.link.expire(time.Now().Add(2 * removal)) })
		tr.hears("1002", "BackInService  normal", "OutOfService  normal")
	})
}

// Telephones of several domains may have the same numbers: those of further domains are devices with a domain.
func TestDomains(t *testing.T) {
	tr := newTrial(t, LinkConfig{Domains: []string{"b.test"}, QueuePrefix: "02"}, "1001", "1001@b.test", "029700@b.test", "3000@b.test")
	tr.tell(`sofia::register from-user=1001 from-host=b.test profile-name=internal
CHANNEL_CREATE id=A dir=inbound who=1001@b.test to=9700
callcenter::info CC-Action=member-queue-start CC-Queue=9700@b.test CC-Member-Session-UUID=A
conference::maintenance Action=add-member Conference-Name=3000-b.test id=A
MESSAGE_WAITING MWI-Messages-Waiting=yes MWI-Message-Account=sip:1001@b.test`)
	tr.hears("1001@b.test", "BackInService  normal", "ServiceInitiated 1001@b.test initiated normal", "Originated 1001@b.test connected newCall",
		"Queued 029700@b.test connected enteringDistribution", "Established 3000@b.test connected newCall", "MessageWaiting")
	tr.hears("1001")
	tr.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1001@b.test"), CalledDirectoryNumber: uacsta.Dev("1002")})
	tr.gives("bgapi originate {csta_call=#,origination_caller_id_number=1002,csta_calling=1001@b.test,ignore_early_media=true,originate_timeout=30}user/1001@b.test 1002 XML b.test\nJob-UUID: #")
	tr.must(uacsta.SetDoNotDisturb{Device: uacsta.Dev("1001@b.test"), DoNotDisturbOn: true})
	tr.gives("sendevent PHONE_FEATURE\nprofile: internal\nuser: 1001\nhost: b.test\ndevice: 1001\nFeature-Event: DoNotDisturbEvent\ndoNotDisturbOn: true")
	if tr.database["csta_dnd/1001@b.test"] != "true" {
		t.Errorf("mod_db has %v", tr.database)
	}
	tr.must(uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev("1001@b.test")})
	tr.gives("sendevent MESSAGE_WAITING\nMWI-Messages-Waiting: no\nMWI-Message-Account: sip:1001@b.test")
	for _, device := range []string{"1001@c.test", "1001@b.test@b.test", "1001@", "@b.test"} {
		tr.refused(uacsta.MakeCall{CallingDevice: uacsta.Dev(device), CalledDirectoryNumber: uacsta.Dev("1002")}, "invalidCallingDeviceID")
	}
}

// Telephones that have registered before are called as such, and are in service already.
func TestLearnRegistrations(t *testing.T) {
	tr := newTrial(t, LinkConfig{Outside: "sofia/gateway/gw/{number}", Queues: func(number string) bool { return number == "9500" }}, "1002")
	done := make(chan error, 2)
	tr.link.inbox.Post(func() { done <- tr.link.registers("no JSON") })
	if err := <-done; err == nil {
		t.Error("what is no list is taken for one")
	}
	tr.link.inbox.Post(func() {
		done <- tr.link.registers(recordings.Replies(t, "snapshot")["api show registrations as json"])
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	predict := uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("9500"), CalledDirectoryNumber: uacsta.Dev("1002")}
	for number, want := range map[string]string{"1002": "user/1002@pbx.test", "1004": "sofia/gateway/gw/1004"} {
		predict.CalledDirectoryNumber = uacsta.Dev(number)
		tr.must(predict)
		if got := tr.gave(); !strings.Contains(got, "}"+want+" 9500") {
			t.Errorf("%s is called by %q, not %s", number, got, want)
		}
	}
	tr.hears("1002", "BackInService  normal")
	tr.tell("sofia::register from-user=1002 profile-name=internal") // once more
	tr.hears("1002")
}

// Replies of a real FreeSWITCH to commands that it refuses.
func TestErrors(t *testing.T) {
	refused := 0
	for command, reply := range recordings.Replies(t, "errors") {
		tr := newTrial(t, LinkConfig{})
		tr.answer = reply
		got := make(chan error, 1)
		tr.link.inbox.Post(func() { tr.link.query(instruction{text: command}, func(_ string, err error) { got <- err }) })
		err := <-got
		if failed := !strings.HasPrefix(reply, "true") && !strings.HasPrefix(reply, "false") && !strings.HasPrefix(reply, "error/"); failed != (err != nil) {
			t.Errorf("%s: %q is %v", command, reply, err)
		}
		if err != nil {
			refused++
		}
	}
	if refused < 10 {
		t.Errorf("only %d are refused", refused)
	}
}

// A consultation older than the link is recognised. A channel that waits for no one is
// released.
func TestLearnConsultation(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002")
	tr.database["B csta_waits_for"], tr.database["D csta_waits_for"] = "A", "X"
	done := make(chan error, 1)
	tr.link.inbox.Post(func() {
		tr.link.learns(`{"rows":[
			{"uuid":"A","call_uuid":"A","direction":"inbound","dest":"1003","callstate":"ACTIVE","presence_id":"1001@pbx.test"},
			{"uuid":"C","call_uuid":"A","direction":"outbound","callstate":"ACTIVE","presence_id":"1003@pbx.test"},
			{"uuid":"B","call_uuid":"B","direction":"outbound","callstate":"ACTIVE","presence_id":"1002@pbx.test","application":"park"},
			{"uuid":"D","call_uuid":"D","direction":"outbound","callstate":"ACTIVE","presence_id":"1004@pbx.test","state":"CS_PARK"},
			{"uuid":"E","call_uuid":"E","direction":"inbound","dest":"5","callstate":"ACTIVE","presence_id":"1005@pbx.test","application":"park"}
		]}`, func(err error) { done <- err })
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	tr.gives("api uuid_kill D")
	tr.must(uacsta.ReconnectCall{ActiveCall: uacsta.Conn("A", "1001"), HeldCall: uacsta.Conn("B", "1001")})
	tr.hears("1001", "ConnectionCleared 1001 null normalClearing", "Retrieved 1001 connected normal")
	tr.hears("1002", "Retrieved 1001 connected normal")
}
