package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

func hours(t *testing.T, s string) Hours {
	t.Helper()
	h, err := ParseHours(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// company is a policy with everything in it.
func company(t *testing.T) *Policy {
	t.Helper()
	return &Policy{
		Groups:       map[string][]string{"agents": {"sip:*@contact.center", "crm"}, "staff": {"sip:*@contoso.com"}},
		DeviceGroups: map[string][]string{"sales": {"200-219"}},
		Destinations: map[string][]string{"national": {`/0[1-8]\d+/`}, "expensive": {"0900*", "+*", "00*"}},
		Lines: func(who string) []string {
			return map[string][]string{"sip:alice@contoso.com": {"100"}, "sip:bob@contoso.com": {"101", "102"}}[who]
		},
		Internal: func(number string) bool { return len(number) == 3 },
		Rules: []Rule{
			{Name: "boss", Who: []string{"sip:boss@contoso.com"}, May: []string{"control"}, Destinations: []string{"*"}},
			{Name: "toll fraud", Deny: true, May: []string{"new-calls"}, Destinations: []string{"class:expensive"}},
			{Name: "no spying", Deny: true, Who: []string{"*"}, May: []string{"IntrudeCall", "JoinCall"}},
			{Name: "own", Who: []string{"group:staff"}, May: []string{"control"}, Devices: []string{"own"}, Destinations: []string{"internal", "class:national"}},
			{Name: "colleagues", Who: []string{"group:staff"}, May: []string{"observe", "DirectedPickupCall"}, Devices: []string{"1??"}},
			{
				Name: "agents by day", Who: []string{"group:agents"}, May: []string{"calls", "agents"}, Devices: []string{"group:sales"}, Destinations: []string{"internal"},
				Fronts: []string{"xml"}, Hours: []Hours{hours(t, "Mon-Fri 08:00-18:00"), hours(t, "Sat 22:00-02:00")},
			},
			{Name: "wallboard", Who: []string{"wallboard"}, May: []string{"observe"}},
			{Name: "dialler", Who: []string{"dialler"}, May: []string{"MakeCall"}, Devices: []string{"300"}, Destinations: []string{"class:national", "group:sales"}, Rate: Rate{2, time.Minute}},
			{Name: "not the boss's", Deny: true, Who: []string{"auditor"}, Devices: []string{"109"}},
			{Name: "auditor", Who: []string{"auditor"}, May: []string{"observe"}},
		},
	}
}

// decisions has a line for each identity, device and service, and a column for each destination: a
// colleague, a national number, one abroad, an expensive one, and none. The letter in a column is the
// rule that decides: small letters allow, capitals deny; - means none.
const decisions = `
                                          101 0894711 +4420 0900123 none
sip:boss@contoso.com    100 MakeCall          b b b b b
sip:boss@contoso.com    217 SetForwarding     b b b b b
sip:boss@contoso.com    100 IntrudeCall       b b b b b
sip:alice@contoso.com   100 MakeCall          o o T T o
sip:alice@contoso.com   100 ConsultationCall  o o T T o
sip:alice@contoso.com   100 DeflectCall       o o T T o
sip:alice@contoso.com   100 SingleStepTransferCall o o T T o
sip:alice@contoso.com   100 SetForwarding     o o T T o
sip:alice@contoso.com   100 HoldCall          o o - - o
sip:alice@contoso.com   100 IntrudeCall       N N T T N
sip:alice@contoso.com   100 SnapshotDevice    o o - - o
sip:alice@contoso.com   101 MakeCall          - - T T -
sip:alice@contoso.com   101 ClearConnection   - - - - -
sip:alice@contoso.com   101 SnapshotDevice    - - - - c
sip:alice@contoso.com   101 DirectedPickupCall - - T T c
sip:alice@contoso.com   217 SnapshotDevice    - - - - -
sip:alice@contoso.com   *   RouteRegister     - - - - -
sip:bob@contoso.com     101 MakeCall          o o T T o
sip:bob@contoso.com     102 TransferCall      o o T T o
sip:bob@contoso.com     100 TransferCall      - - T T -
sip:mallory@contoso.com.evil 100 MakeCall     - - T T -
sip:mallory@contoso.com 100 MakeCall          - - T T -
sip:mallory@contoso.com 100 SnapshotDevice    - - - - c
crm                     217 MakeCall          a - T T a
crm                     217 SetAgentState     a - - - a
crm                     217 SetForwarding     - - T T -
crm                     217 SnapshotDevice    a - - - a
crm                     220 MakeCall          - - T T -
sip:x@contact.center    200 AnswerCall        a - - - a
sip:x@contact.centre    200 AnswerCall        - - - - -
wallboard               217 SnapshotDevice    - - - - w
wallboard               217 MonitorStart      - - - - w
wallboard               217 AnswerCall        - - - - -
dialler                 300 MakeCall          - d T T d
dialler                 300 MakePredictiveCall - - T T -
dialler                 300 SnapshotDevice    - d - - d
dialler                 301 MakeCall          - - T T -
auditor                 108 MonitorStart      - - - - s
auditor                 109 MonitorStart      X X X X X
auditor                 109 GetForwarding     X X X X X
nobody                  100 MakeCall          - - T T -
`

var letters = map[string]string{
	"b": "boss", "T": "toll fraud", "N": "no spying", "o": "own", "c": "colleagues", "a": "agents by day", "w": "wallboard", "d": "dialler", "X": "not the boss's", "s": "auditor",
}

func actionOf(service string) Action {
	if uacsta.Observes(service) {
		return Observe
	}
	return Control
}

func TestDecisions(t *testing.T) {
	p := company(t)
	lines := strings.Split(strings.TrimSpace(decisions), "\n")
	destinations := strings.Fields(lines[0])
	tuesday := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	made := 0
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		for i, letter := range f[3:] {
			ask := Request{Who: Identity{Name: f[0]}, Front: "xml", Service: f[2], Action: actionOf(f[2]), Device: num(t, f[1]), At: tuesday}
			if destinations[i] != "none" {
				ask.Destinations = []Number{num(t, destinations[i])}
			}
			d, trials := p.Explain(ask)
			got := "none"
			if d.Rule != nil {
				got = d.Rule.Name
			}
			want := letters[letter]
			if letter == "-" {
				want = "none"
			}
			if got != want || d.Allowed != (letter >= "a") || d.Reason == "" || p.Decide(ask).Allowed != d.Allowed {
				t.Errorf("%s to %s: %v by %s, want %s (%s)", line, destinations[i], d.Allowed, got, want, d.Reason)
			}
			if d.Rule == nil && len(trials) != len(p.Rules) {
				t.Errorf("%s: %d rules of %d are explained", line, len(trials), len(p.Rules))
			}
			made++
		}
	}
	if made < 150 {
		t.Errorf("only %d decisions", made)
	}
}

// All of several destinations must be allowed. A rule does not apply to other fronts or hours.
func TestRuleConditions(t *testing.T) {
	p := company(t)
	at := func(s string) time.Time {
		when, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	crm := Request{Who: Identity{Name: "crm"}, Front: "xml", Service: "AnswerCall", Action: Control, Device: num(t, "217"), At: at("2026-11-24 10:00")}
	for name, tt := range map[string]struct {
		change func(*Request)
		want   bool
	}{
		"as it is":        {func(*Request) {}, true},
		"over SIP":        {func(a *Request) { a.Front = "sip" }, false},
		"too early":       {func(a *Request) { a.At = at("2026-11-24 07:59") }, false},
		"at the end":      {func(a *Request) { a.At = at("2026-11-24 17:59") }, true},
		"too late":        {func(a *Request) { a.At = at("2026-11-24 18:00") }, false},
		"on Saturday":     {func(a *Request) { a.At = at("2026-11-28 10:00") }, false},
		"Saturday night":  {func(a *Request) { a.At = at("2026-11-28 23:00") }, true},
		"past midnight":   {func(a *Request) { a.At = at("2026-11-29 01:59") }, true},
		"Sunday":          {func(a *Request) { a.At = at("2026-11-29 02:00") }, false},
		"both inside":     {func(a *Request) { a.Destinations = []Number{num(t, "101"), num(t, "102")} }, true},
		"one outside":     {func(a *Request) { a.Destinations = []Number{num(t, "101"), num(t, "0894711")} }, false},
		"any service":     {func(a *Request) { a.Service = "" }, true},
		"nobody":          {func(a *Request) { a.Who = Identity{} }, false},
		"large letters":   {func(a *Request) { a.Who = Identity{Name: "CRM"} }, true},
		"another's group": {func(a *Request) { a.Who = Identity{Name: "group:agents"} }, false},
	} {
		ask := crm
		tt.change(&ask)
		if d := p.Decide(ask); d.Allowed != tt.want {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A decision has its reason, and so has each rule that was tried.
func TestReasons(t *testing.T) {
	p := &Policy{
		Lines: func(who string) []string { return map[string][]string{"owner": {"100"}}[who] },
		Rules: []Rule{
			{Name: "fraud", Deny: true, May: []string{"new-calls"}, Destinations: []string{"0900*"}},
			{Name: "abroad", Deny: true, Who: []string{"crm"}, Destinations: []string{"+*"}},
			{Name: "others", Who: []string{"boss"}},
			{Name: "front", Fronts: []string{"sip"}, May: []string{"control"}},
			{Name: "night", Hours: []Hours{hours(t, "20:00-06:00")}, May: []string{"control"}},
			{Name: "pass", Who: []string{"crm"}, May: []string{"pass-through:Ping"}},
			{Name: "service", Who: []string{"crm"}, May: []string{"observe"}, Devices: []string{"1*"}},
			{Name: "own", May: []string{"control"}, Devices: []string{"own"}},
			{Name: "calls", Who: []string{"crm"}, May: []string{"MakeCall"}, Devices: []string{"1*"}, Destinations: []string{"2*"}},
		},
	}
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		ask                       Request
		destinations              string
		reason, rule, destination string
		tried                     string
	}{
		{Request{Service: "MakeCall", Action: Control, Device: num(t, "100")}, "", "the client is not identified", "", "", ""},
		{Request{Who: Identity{Name: "crm"}, Service: "MakeCall", Action: Control, Device: num(t, "100")}, "09001", "denied by fraud", "fraud", "09001", ""},
		{Request{Who: Identity{Name: "crm"}, Service: "MakeCall", Action: Control, Device: num(t, "100")}, "+1", "denied by abroad", "abroad", "+1", "fraud: it names other destinations"},
		{Request{Who: Identity{Name: "crm"}, Service: "MakeCall", Action: Control, Device: num(t, "100")}, "*", "denied by fraud", "fraud", "*", ""},
		{
			Request{Who: Identity{Name: "crm"}, Service: "MakeCall", Action: Control, Device: num(t, "100")}, "201 202", "allowed by calls", "calls", "",
			"fraud: it names other destinations; abroad: it names other destinations; others: it names other identities; front: it names other fronts; night: it does not apply at this hour; pass: it names other services; service: it names other services; own: it names other devices",
		},
		{
			Request{Who: Identity{Name: "crm"}, Service: "MakeCall", Action: Control, Device: num(t, "100")}, "201 300", "no rule allows crm to send calls from 100 to 300", "", "300",
			"fraud: it names other destinations; abroad: it names other destinations; others: it names other identities; front: it names other fronts; night: it does not apply at this hour; pass: it names other services; service: it names other services; own: it names other devices; calls: it does not allow calls to 300",
		},
		{
			Request{Who: Identity{Name: "crm"}, Service: "MakeCall", Action: Control}, "", "no rule allows crm to use MakeCall on a device that the request does not name", "", "",
			"fraud: it names other destinations; abroad: it names other destinations; others: it names other identities; front: it names other fronts; night: it does not apply at this hour; pass: it names other services; service: it names other services; own: it names other devices; calls: it names other devices",
		},
		{
			Request{Who: Identity{Name: "crm"}, Service: "MakeCall", Action: Control, Device: num(t, "200")}, "", "no rule allows crm to use MakeCall on 200", "", "",
			"fraud: it names other destinations; abroad: it names other destinations; others: it names other identities; front: it names other fronts; night: it does not apply at this hour; pass: it names other services; service: it names other services; own: it names other devices; calls: it names other devices",
		},
		{
			Request{Who: Identity{Name: "crm"}, Service: "Ping", PassThrough: true, Action: Control, Device: num(t, "200")}, "", "allowed by pass", "pass", "",
			"fraud: it names other services; abroad: it names other destinations; others: it names other identities; front: it names other fronts; night: it does not apply at this hour",
		},
	} {
		tt.ask.Front, tt.ask.At = "xml", noon
		for text := range strings.FieldsSeq(tt.destinations) {
			if text == "*" {
				tt.ask.Destinations = append(tt.ask.Destinations, Whole)
			} else {
				tt.ask.Destinations = append(tt.ask.Destinations, num(t, text))
			}
		}
		d, trials := p.Explain(tt.ask)
		tried, rule := make([]string, len(trials)), ""
		for i, trial := range trials {
			tried[i] = trial.Rule + ": " + trial.Why
		}
		if d.Rule != nil {
			rule = d.Rule.Name
		}
		if d.Reason != tt.reason || rule != tt.rule || d.Destination != tt.destination || d.Allowed != strings.HasPrefix(tt.reason, "allowed") {
			t.Errorf("%+v to %q: %+v", tt.ask, tt.destinations, d)
		}
		if got := strings.Join(tried, "; "); got != tt.tried {
			t.Errorf("%s: tried were\n%s, want\n%s", tt.reason, got, tt.tried)
		}
		if short := p.Decide(tt.ask); short != d {
			t.Errorf("decided is %+v, explained %+v", short, d)
		}
	}
	p.Rules = []Rule{p.Rules[2], p.Rules[1]}
	for who, want := range map[string]string{"boss": "no rule allows boss to observe 100", "nobody": "no rule names nobody"} {
		p.Rules[0].Devices = []string{"200"}
		if d, trials := p.Explain(Request{Who: Identity{Name: who}, Device: num(t, "100")}); d.Reason != want || d.Allowed || len(trials) != 2 {
			t.Errorf("%+v after %v, want %s", d, trials, want)
		}
	}
}

// Messages that the standard does not define pass where a rule names them, not in demo mode, and not
// by a class. A rule that denies everything denies them, too.
func TestPassThrough(t *testing.T) {
	ask := Request{Who: Identity{Name: "crm"}, Service: "Ping", PassThrough: true, Action: Control, Device: num(t, "100")}
	for name, tt := range map[string]struct {
		policy Policy
		want   bool
	}{
		"named":       {Policy{Rules: []Rule{{May: []string{"control", "pass-through:Ping"}}}}, true},
		"another":     {Policy{Rules: []Rule{{May: []string{"pass-through:Pong"}}}}, false},
		"as service":  {Policy{Rules: []Rule{{May: []string{"Ping"}}}}, false},
		"control":     {Policy{Rules: []Rule{{May: []string{"control"}}}}, false},
		"anything":    {Policy{Rules: []Rule{{}}}, false},
		"denied":      {Policy{Rules: []Rule{{Deny: true}, {May: []string{"pass-through:Ping"}}}}, false},
		"demo":        {Policy{Demo: true}, false},
		"demo, named": {Policy{Demo: true, Rules: []Rule{{May: []string{"pass-through:Ping"}}}}, true},
	} {
		if d := tt.policy.Decide(ask); d.Allowed != tt.want || d.Reason == "" {
			t.Errorf("%s: %+v", name, d)
		}
	}
	ask.PassThrough = false // a service of this name is something else
	if d := (&Policy{Demo: true}).Decide(ask); !d.Allowed || d.Reason != "demo mode" {
		t.Errorf("%+v", d)
	}
	ask.Service = "MakeCall"
	if d := (&Policy{Rules: []Rule{{May: []string{"pass-through:Ping"}}}}).Decide(ask); d.Allowed {
		t.Errorf("%+v", d)
	}
}

// Without lines, internal numbers, groups or classes, the rules about them match nothing.
func TestNothingConfigured(t *testing.T) {
	for _, r := range []Rule{
		{Devices: []string{"own"}}, {Devices: []string{"group:sales"}}, {Who: []string{"group:agents"}}, {Devices: []string{"none"}},
		{Destinations: []string{"internal"}}, {Destinations: []string{"class:national"}}, {Destinations: []string{"own"}}, {},
	} {
		ask := Request{Who: Identity{Name: "crm"}, Service: "MakeCall", Action: Control, Device: num(t, "100"), Destinations: []Number{num(t, "101")}}
		if d := (&Policy{Rules: []Rule{r}}).Decide(ask); d.Allowed {
			t.Errorf("%+v: %+v", r, d)
		}
	}
	whole := &Policy{
		DeviceGroups: map[string][]string{"all": {"*"}, "most": {"?*"}}, Lines: func(string) []string { return []string{"*"} }, Internal: func(string) bool { return true },
		Destinations: map[string][]string{"all": {"*"}},
	}
	for pattern, want := range map[string]bool{"*": true, "internal": false, "class:all": false, "own": false, "group:all": false} {
		whole.Rules = []Rule{{Destinations: []string{pattern}}}
		if d := whole.Decide(Request{Who: Identity{Name: "crm"}, Device: num(t, "100"), Destinations: []Number{Whole}}); d.Allowed != want {
			t.Errorf("calls may go anywhere by %s: %v", pattern, d)
		}
	}
	for pattern, want := range map[string]bool{"group:all": true, "group:most": false} {
		whole.Rules = []Rule{{Devices: []string{pattern}}}
		if d := whole.Decide(Request{Who: Identity{Name: "crm"}, Device: Whole}); d.Allowed != want {
			t.Errorf("the whole switch by %s: %v", pattern, d)
		}
	}
}

// Observing under a rule about something else does not count against its rate.
func TestCounts(t *testing.T) {
	rate := Rate{2, time.Minute}
	for _, tt := range []struct {
		rule Rule
		ask  Request
		want bool
	}{
		{Rule{Rate: rate, May: []string{"control"}}, Request{Action: Control, Service: "MakeCall"}, true},
		{Rule{Rate: rate, May: []string{"MakeCall"}}, Request{Action: Observe, Service: "SnapshotDevice"}, false},
		{Rule{Rate: rate, May: []string{"SnapshotDevice"}}, Request{Action: Observe, Service: "SnapshotDevice"}, true},
		{Rule{Rate: rate, May: []string{"observe"}}, Request{Action: Observe, Service: "SnapshotDevice"}, true},
		{Rule{Rate: rate}, Request{Action: Observe, Service: "SnapshotDevice"}, true},
		{Rule{}, Request{Action: Control, Service: "MakeCall"}, false},
		{Rule{Rate: Rate{0, time.Minute}}, Request{Action: Control, Service: "MakeCall"}, false},
		{Rule{Rate: Rate{1, time.Minute}}, Request{Action: Control, Service: "MakeCall"}, true},
	} {
		if got := tt.rule.Counts(tt.ask); got != tt.want {
			t.Errorf("%+v counts %+v: %v", tt.rule, tt.ask, got)
		}
	}
}

// A rule that allows something on a device also allows to observe it. A rule that denies something
// denies that alone.
func TestAllowedImpliesObserve(t *testing.T) {
	for _, tt := range []struct {
		may, service string
		action       Action
		lets, denies bool
	}{
		{"observe", "SnapshotDevice", Observe, true, true},
		{"observe", "MakeCall", Control, false, false},
		{"observe", "", Control, false, false},
		{"observe", "", Observe, true, true},
		{"control", "MakeCall", Control, true, true},
		{"control", "SnapshotDevice", Observe, true, false},
		{"control", "", Control, true, true},
		{"MakeCall", "MakeCall", Control, true, true},
		{"MakeCall", "AnswerCall", Control, false, false},
		{"MakeCall", "SnapshotDevice", Observe, true, false},
		{"MakeCall", "", Control, true, false},
		{"new-calls", "MakeCall", Control, true, true},
		{"new-calls", "AnswerCall", Control, false, false},
		{"new-calls", "", Observe, true, false},
		{"pass-through:Ping", "", Observe, false, false},
		{"pass-through:Ping", "SnapshotDevice", Observe, false, false},
	} {
		for deny, want := range map[bool]bool{false: tt.lets, true: tt.denies} {
			r := Rule{Deny: deny, May: []string{tt.may}}
			if got := r.mayService(tt.service, tt.action); got != want {
				t.Errorf("deny %v, %s: %s %v is meant: %v", deny, tt.may, tt.service, tt.action, got)
			}
		}
	}
}

// A span includes its first minute and not its last, in the zone of the time, and extends over
// midnight into the next day only.
func TestHours(t *testing.T) {
	at := func(s string) time.Time {
		when, err := time.Parse("2006-01-02 15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, tt := range []struct {
		span, in, out string // 2026-11-23 is a Monday
	}{
		{"Mon 08:00-18:00", "2026-11-23 08:00:00", "2026-11-23 07:59:59"},
		{"Mon 08:00-18:00", "2026-11-23 17:59:59", "2026-11-23 18:00:00"},
		{"Mon 08:00-18:00", "2026-11-23 12:00:00", "2026-11-24 12:00:00"},
		{"Mon 00:00-24:00", "2026-11-23 23:59:59", "2026-11-24 00:00:00"},
		{"Mon 00:00-24:00", "2026-11-23 00:00:00", "2026-11-22 23:59:59"},
		{"Mon 00:01-00:02", "2026-11-23 00:01:00", "2026-11-23 00:00:59"},
		{"Mon", "2026-11-23 23:59:59", "2026-11-22 23:59:59"},
		{"Mon 22:00-06:00", "2026-11-23 22:00:00", "2026-11-23 21:59:59"},
		{"Mon 22:00-06:00", "2026-11-24 05:59:59", "2026-11-24 06:00:00"},
		{"Mon 22:00-06:00", "2026-11-24 00:00:00", "2026-11-23 05:00:00"},
		{"Mon 22:00-06:00", "2026-11-23 23:59:59", "2026-11-24 23:00:00"},
		{"Sat 22:00-06:00", "2026-11-29 05:59:59", "2026-11-28 05:59:59"}, // into Sunday
		{"Sun 22:00-06:00", "2026-11-30 05:59:59", "2026-11-29 05:59:59"},
		{"Fri-Mon", "2026-11-29 12:00:00", "2026-11-24 12:00:00"},
		{"Mon,Wed-Thu", "2026-11-26 12:00:00", "2026-11-24 12:00:00"},
		{"12:00-00:00", "2026-11-23 12:00:00", "2026-11-23 00:00:00"},
	} {
		h := hours(t, tt.span)
		if !h.Contains(at(tt.in)) || h.Contains(at(tt.out)) {
			t.Errorf("%s: %s is in it: %v, %s is: %v", tt.span, tt.in, h.Contains(at(tt.in)), tt.out, h.Contains(at(tt.out)))
		}
	}
	east := time.FixedZone("east", 2*3600)
	if !hours(t, "Mon 08:00-09:00").Contains(time.Date(2026, 11, 23, 8, 30, 0, 0, east)) {
		t.Error("a moment is not taken in its own zone")
	}
}

func TestParseHours(t *testing.T) {
	for _, s := range []string{"", "Mon-", "Monday 08:00-18:00", "08:00", "8-18", "Mon 25:00-26:00", "Mon 08:00-08:00", "Mon 08:61-09:00", "Mon Tue 08:00-18:00", "08:00-18:00 Mon", "Mon 8:5-9:00", "Mon 08:00-18:00 x", "Mon 08:60-10:00", "Mon 08:00--1:00", "Mon 09:00-08:-1", "Mon x:00-09:00", "Mon 08:00-24:01", "Mon -1:00-09:00", "Mon 08:-1-09:00", "Mon 08:00", "Mon x-09:00", "Mon 08:00-x", "Mon 08:xx-09:00",
		"Xyz-Mon", "Mon-Xyz", "Mon,", "08:00-09:00-10:00", "Mon 8-9:00"} {
		if _, err := ParseHours(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	for s, want := range map[string]int{"Mon-Sun": 7, "Fri-Mon 00:00-24:00": 4, "Sat,Sun 10:00-14:00": 2, "22:00-06:00": 7, "mon,wed-thu": 3, "Sun": 1, "Sat-Sun": 2, "Sun-Sat": 7, "Mon 23:59-00:00": 1, "Mon 00:00-24:00": 1} {
		h := hours(t, s)
		days := 0
		for _, on := range h.days {
			if on {
				days++
			}
		}
		if days != want {
			t.Errorf("%s: %d days", s, days)
		}
	}
	for _, s := range []string{"", "5", "0/minute", "-1/second", "x/hour", "5/year", "5/", "/minute", "5 minute", "1.5/minute", "5/minute/second", "99999999999999999999/minute"} {
		if _, err := ParseRate(s); err == nil {
			t.Errorf("rate %q is taken", s)
		}
	}
	for s, want := range map[string]Rate{"30/minute": {30, time.Minute}, " 1 / second ": {1, time.Second}, "100/hour": {100, time.Hour}} {
		if r, err := ParseRate(s); err != nil || r != want {
			t.Errorf("%q: %v %v", s, r, err)
		}
	}
}
