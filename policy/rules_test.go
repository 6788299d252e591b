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

// decisions has a line for who, device and service, and a column for each destination: a
// colleague, a number in the country, one abroad, an expensive one, and none. In a column
// stands the letter of the rule that decides: small letters let it be done, capitals do
// not; - is for none.
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
			ask := Ask{Who: Identity{Name: f[0]}, Front: "xml", Service: f[2], Action: actionOf(f[2]), Device: num(t, f[1]), At: tuesday}
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

// Several destinations must all be let through; by another front and at another hour a
// rule does not hold.
func TestRuleConditions(t *testing.T) {
	p := company(t)
	at := func(s string) time.Time {
		when, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	crm := Ask{Who: Identity{Name: "crm"}, Front: "xml", Service: "AnswerCall", Action: Control, Device: num(t, "217"), At: at("2026-11-24 10:00")}
	for name, tt := range map[string]struct {
		change func(*Ask)
		want   bool
	}{
		"as it is":        {func(*Ask) {}, true},
		"over SIP":        {func(a *Ask) { a.Front = "sip" }, false},
		"too early":       {func(a *Ask) { a.At = at("2026-11-24 07:59") }, false},
		"at the end":      {func(a *Ask) { a.At = at("2026-11-24 17:59") }, true},
		"too late":        {func(a *Ask) { a.At = at("2026-11-24 18:00") }, false},
		"on Saturday":     {func(a *Ask) { a.At = at("2026-11-28 10:00") }, false},
		"Saturday night":  {func(a *Ask) { a.At = at("2026-11-28 23:00") }, true},
		"past midnight":   {func(a *Ask) { a.At = at("2026-11-29 01:59") }, true},
		"Sunday":          {func(a *Ask) { a.At = at("2026-11-29 02:00") }, false},
		"both inside":     {func(a *Ask) { a.Destinations = []Number{num(t, "101"), num(t, "102")} }, true},
		"one outside":     {func(a *Ask) { a.Destinations = []Number{num(t, "101"), num(t, "0894711")} }, false},
		"any service":     {func(a *Ask) { a.Service = "" }, true},
		"nobody":          {func(a *Ask) { a.Who = Identity{} }, false},
		"large letters":   {func(a *Ask) { a.Who = Identity{Name: "CRM"} }, true},
		"another's group": {func(a *Ask) { a.Who = Identity{Name: "group:agents"} }, false},
	} {
		ask := crm
		tt.change(&ask)
		if d := p.Decide(ask); d.Allowed != tt.want {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestParseHours(t *testing.T) {
	for _, s := range []string{"", "Mon-", "Monday 08:00-18:00", "08:00", "8-18", "Mon 25:00-26:00", "Mon 08:00-08:00", "Mon 08:61-09:00", "Mon Tue 08:00-18:00", "08:00-18:00 Mon", "Mon 8:5-9:00"} {
		if _, err := ParseHours(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	for s, want := range map[string]int{"Mon-Sun": 7, "Fri-Mon 00:00-24:00": 4, "Sat,Sun 10:00-14:00": 2, "22:00-06:00": 7, "mon,wed-thu": 3} {
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
	for _, s := range []string{"", "5", "0/minute", "-1/second", "x/hour", "5/year", "5/"} {
		if _, err := ParseRate(s); err == nil {
			t.Errorf("rate %q is taken", s)
		}
	}
	if r, err := ParseRate("30/minute"); err != nil || r != (Rate{30, time.Minute}) {
		t.Error(r, err)
	}
}
