package tests

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// callers lets everybody on the machine control everything and call everywhere.
const callers = "trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"*\", control: [\"*\"], dial: [\"*\"]}]\n"

// example builds a program of the folder examples and returns its path.
func example(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", file, "../examples/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

// carrier is the network beyond a trunk. What it does with a call depends on the number's third digit.
type carrier struct {
	*handset
	invites map[string]*sipText // that ring, by Call-ID
}

// outcomes is what a carrier responds, by the digit of a number; 0 means that the call rings for ever.
var outcomes = map[byte]int{'0': 200, '1': 486, '2': 404, '3': 0, '4': 503, '5': 403}

// serve handles the calls of the trunk until the test ends.
func (c *carrier) serve() {
	for {
		var m *sipText
		select {
		case m = <-c.inbox:
		case <-c.t.Context().Done():
			return
		}
		id := m.header("Call-ID")
		switch m.method() {
		case "INVITE":
			code := outcomes[strings.TrimPrefix(m.start, "INVITE sip:")[2]]
			c.reply(m, 180, "t"+id, "")
			switch code {
			case 0:
				c.invites[id] = m
			case 200:
				c.reply(m, code, "t"+id, description(5600, "sendrecv"))
				c.invites[id] = m
			default:
				c.reply(m, code, "t"+id, "")
			}
		case "CANCEL":
			c.answer(m, 200, nil, "")
			c.reply(c.invites[id], 487, "t"+id, "")
		case "ACK":
			if invite := c.invites[id]; invite != nil && outcomes[strings.TrimPrefix(invite.start, "INVITE sip:")[2]] == 200 {
				d := c.answered(invite, "t"+id)
				time.AfterFunc(300*time.Millisecond, func() { d.begin("BYE", nil, "") }) // it has talked
			}
		default:
			c.answer(m, 200, nil, "")
		}
	}
}

// The dialler calls two hundred numbers, and learns what comes of each. Nothing of its calls is left.
func TestDialler(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  queues: [{number: "300"}]
  trunks:
  - {number: "900", prefixes: ["00"], lines: 60, sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
  - {number: "901", prefixes: ["01"], lines: 1}
`, port), callers)
	o := x.watch("300", "900", "2000")
	isp := &carrier{handset: listenHandset(t, port, x.sip, "acme", "isp"), invites: map[string]*sipText{}}
	o.until("900", "BackInService")
	go isp.serve()
	group := uacsta.Dev("300")
	agent := uacsta.SetAgentState{Device: uacsta.Dev("2000"), RequestedAgentState: uacsta.RequestLoggedOn, AgentID: "7", Group: &group}
	o.must(agent)
	agent.RequestedAgentState = uacsta.RequestReady
	o.must(agent)
	o.must(call("1000", "01")) // it takes the only line
	want := map[string]string{"000": "answered by", "001": "busy", "002": "numberUnallocated", "003": "callNotAnswered", "004": "networkCongestion", "005": "blocked", "01": "trunksBusy", "7": "destNotObtainable"}
	var numbers, lines []string
	for i := range 25 {
		for prefix, outcome := range want {
			number := fmt.Sprintf("%s%02d", prefix, i)
			numbers = append(numbers, number)
			if outcome == "answered by" {
				outcome += " " + number
			}
			lines = append(lines, number+" "+outcome)
		}
	}
	for _, outcome := range want {
		lines = append(lines, "25 "+strings.TrimSuffix(outcome, " by"))
	}
	dialler := exec.Command(example(t, "dialler"), "-server", fmt.Sprintf("127.0.0.1:%d", x.xmlPort), "-queue", "300", "-lines", "20", "-ring", "3")
	dialler.Stdin = strings.NewReader(strings.Join(numbers, "\n"))
	out, err := dialler.Output()
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(got)
	slices.Sort(lines)
	if err != nil || !slices.Equal(got, lines) {
		t.Errorf("%v: got\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
	o.until("2000", "Established") // an agent got a call
	waitFor(t, "the end of the calls", func() bool { return len(o.calls("300"))+len(o.calls("900")) == 0 })
	x.stop()
}
