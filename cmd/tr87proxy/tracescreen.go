package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/tr87proxy/tr87proxy/internal/operations"
	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// traceScreen shows the trace in a terminal: a list of exchanges, calls or sessions, and the ladder of the one that was chosen
// with its messages. It is a tea.Model.
type traceScreen struct {
	ctx    context.Context //nolint:containedctx // of the command
	socket *adminSocket
	query  operations.TraceQuery

	painter       painter
	width, height int
	records       []trace.Record
	paused        bool
	by            grouping
	filter        filter
	note          string // what was done last, or why there is nothing new
	list, ladder  cursor
	chosen        string // key of the group whose ladder is shown; "": the list is shown
	err           error
}

// grouping says which records belong together.
type grouping int

const (
	byExchange grouping = iota
	byCall
	bySession
	groupings
)

func (g grouping) String() string { return [...]string{"exchanges", "calls", "sessions"}[g] }

// mostRecords is how many records the screen keeps.
const mostRecords = 20000

// cursor is a line of a list that is longer than the screen.
type cursor struct{ at, top int }

// move keeps the cursor within so many lines, and visible in a window of height lines.
func (c *cursor) move(lines, height int) {
	c.at = max(0, min(c.at, lines-1))
	c.top = max(0, min(c.top, c.at, lines-1))
	if c.at >= c.top+height {
		c.top = c.at - height + 1
	}
}

// group is the records that belong together.
type group struct {
	key     string
	records []*trace.Record
}

// Messages of the screen.
type (
	arrived struct{ trace.Answer }
	failed  struct{ error }
)

// run shows the trace in a terminal until the user ends it.
func (s *traceScreen) run(out io.Writer) error {
	s.width, s.height = narrow, 24
	_, err := tea.NewProgram(s, tea.WithContext(s.ctx), tea.WithOutput(out), tea.WithoutSignalHandler()).Run()
	return cmp.Or(s.err, err)
}

// Init implements tea.Model.
func (s *traceScreen) Init() tea.Cmd { return s.ask }

// ask asks the proxy for more records.
func (s *traceScreen) ask() tea.Msg {
	var answer trace.Answer
	if err := s.socket.ask(s.ctx, http.MethodGet, s.query.Path(), &answer); err != nil {
		return failed{err}
	}
	return arrived{answer}
}

// Update implements tea.Model.
func (s *traceScreen) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = m.Width, m.Height
	case arrived:
		return s, s.take(m.Answer)
	case failed:
		if s.query.After == 0 { // there was nothing yet
			s.err = m.error
			return s, tea.Quit
		}
		s.note = m.Error()
		return s, tea.Tick(2*time.Second, func(time.Time) tea.Msg { return s.ask() })
	case tea.KeyPressMsg:
		return s, s.key(m)
	}
	return s, nil
}

// take takes records and asks for more.
func (s *traceScreen) take(answer trace.Answer) tea.Cmd {
	last := s.list.at
	atEnd := last >= len(s.groups())-1
	if !s.paused {
		s.records = append(s.records, answer.Records...)
		s.records = s.records[max(0, len(s.records)-mostRecords):]
	}
	if answer.Lost {
		s.note = "some records were lost: more came than the trace keeps"
	}
	if atEnd {
		s.list.at = math.MaxInt / 2
	}
	s.query.After, s.query.Wait, s.query.Since = max(answer.Last, 1), 20*time.Second, time.Time{}
	return tea.Tick(100*time.Millisecond, func(time.Time) tea.Msg { return s.ask() }) // not each record for itself
}

// key handles a key.
func (s *traceScreen) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	if name == "ctrl+c" {
		return tea.Quit
	}
	s.note = ""
	if s.chosen == "" && s.filter.key(k) {
		return nil
	}
	on, page := &s.list, s.height-headLines
	if s.chosen != "" {
		on, page = &s.ladder, s.height/2
	}
	var moves bool
	if on.at, moves = moved(on.at, name, page); moves {
		return nil
	}
	switch {
	case name == "q":
		return tea.Quit
	case name == "p":
		s.paused = !s.paused
	case name == "w":
		s.note = s.save()
	case s.chosen != "":
		if name == "esc" || name == "left" || name == "backspace" {
			s.chosen, s.ladder = "", cursor{}
		}
	case name == "tab":
		s.by, s.list = (s.by+1)%groupings, cursor{at: math.MaxInt / 2}
	case name == "enter" || name == "right":
		if groups := s.groups(); len(groups) > 0 {
			s.chosen = groups[max(0, min(s.list.at, len(groups)-1))].key
		}
	}
	return nil
}

// groups returns the groups of records that the filter leaves, in the order of their first records.
func (s *traceScreen) groups() []group {
	all := s.all()
	if s.filter.text == "" {
		return all
	}
	return slices.DeleteFunc(all, func(g group) bool {
		return !slices.ContainsFunc(g.records, func(r *trace.Record) bool {
			return s.filter.chooses(strings.Join([]string{r.Name, r.Identity, r.Peer, r.Link, r.Reason, r.Kind, strings.Join(r.Devices, " "), strings.Join(r.Calls, " "), r.Message}, " "))
		})
	})
}

// all returns the groups of all records, in the order of their first ones.
func (s *traceScreen) all() []group {
	var groups []group
	calls := map[uint64][]string{} // of an exchange, as clients call them, for those of its records that name none or name them as the switch does
	for i := range s.records {
		if r := &s.records[i]; r.Exchange != 0 && len(r.Calls) > 0 && r.Lane == trace.Client {
			calls[r.Exchange] = r.Calls
		}
	}
	at := map[string]int{}
	for i := range s.records {
		r := &s.records[i]
		for _, key := range s.keys(r, calls) {
			n, known := at[key]
			if !known {
				n = len(groups)
				at[key] = n
				groups = append(groups, group{key: key})
			}
			groups[n].records = append(groups[n].records, r)
		}
	}
	return groups
}

// keys returns the groups that a record belongs to. calls has the calls of exchanges.
func (s *traceScreen) keys(r *trace.Record, calls map[uint64][]string) []string {
	switch {
	case s.by == byCall && r.Lane != trace.Client && calls[r.Exchange] != nil || s.by == byCall && len(r.Calls) == 0:
		return calls[r.Exchange]
	case s.by == byCall:
		return r.Calls
	case s.by == bySession && r.Session != "":
		return []string{r.Session}
	case s.by == bySession:
		return nil
	case r.Exchange == 0:
		return []string{fmt.Sprintf("record %d", r.Number)}
	}
	return []string{fmt.Sprint(r.Exchange)}
}

// View implements tea.Model.
func (s *traceScreen) View() tea.View {
	v := tea.NewView(s.text())
	v.AltScreen = true
	return v
}

// text returns the screen.
func (s *traceScreen) text() string {
	var lines []painted
	if s.chosen == "" {
		lines = s.listed()
	} else {
		lines = s.shown()
	}
	return fitted(lines, s.width, s.painter)
}

// head returns the first lines of the screen.
func (s *traceScreen) head(what, keys string) []painted {
	if s.paused {
		what += ", paused"
	}
	return plainLines(what+"   "+s.filter.or(keys), s.note)
}

// marked returns a line with or without the cursor.
func marked(line string, c colour, on bool) painted {
	if on {
		return painted{"> " + line, c}
	}
	return painted{"  " + line, c}
}

// listed returns the lines of the list.
func (s *traceScreen) listed() []painted {
	groups := s.groups()
	s.list.move(len(groups), max(1, s.height-headLines))
	lines := s.head(fmt.Sprintf("%d %s", len(groups), s.by), "Enter ladder  Tab calls, sessions  / filter  p pause  w save  q quit")
	lines = append(lines, plainLines(fmt.Sprintf("  %-12s %-12s %-24s %-12s %s", "TIME", "CLIENT", "WHAT", "CALL", "OUTCOME"))...)
	for i := s.list.top; i < min(len(groups), s.list.top+s.height-headLines); i++ {
		lines = append(lines, marked(groups[i].line(), groups[i].colour(), i == s.list.at))
	}
	return lines
}

// colour returns the colour of a group: that of a failure, if there is one in it.
func (g group) colour() colour {
	if slices.ContainsFunc(g.records, (*trace.Record).Failure) {
		return bad
	}
	return recordColour(g.records[0])
}

// line returns a group as a line: its first message, who sent it, and how it ended.
func (g group) line() string {
	first, who, call, outcome := g.records[0], "", "", ""
	for _, r := range g.records {
		who = cmp.Or(who, r.Identity, r.Front)
		if len(r.Calls) > 0 && (call == "" || r.Lane == trace.Client) {
			call = r.Calls[0] // as clients call it, if one has heard of it
		}
		switch {
		case r.Kind == trace.State:
			outcome = strings.TrimSpace(r.Name + " " + r.Reason)
		case r.Failure():
			outcome = r.Reason
		case r.Kind == "response":
			outcome = "ok"
		}
	}
	what := summary(first)
	if first.Kind == trace.State {
		what = map[bool]string{true: "session", false: "link " + first.Link}[first.Lane == trace.Client]
	}
	return fmt.Sprintf("%s %s %s %s %s", first.Time.Local().Format("15:04:05.000"), column(who, 12), column(what, 24), column(call, 12), outcome)
}

// group returns the chosen group, which may have lost all its records.
func (s *traceScreen) group() group {
	for _, g := range s.all() {
		if g.key == s.chosen {
			return g
		}
	}
	return group{key: s.chosen}
}

// shown returns the lines of the ladder of the chosen group, and of the message at the cursor.
func (s *traceScreen) shown() []painted {
	g := s.group()
	room := max(1, s.height/2-2)
	s.ladder.move(len(g.records), room)
	lines := s.head(fmt.Sprintf("records: %d", len(g.records)), "Esc back  p pause  w save  q quit")
	view := &traceView{arrow: max(narrowArrow, min(wideArrow, (s.width-2-timeColumn-clientColumn-linkColumn)/2))}
	for i := s.ladder.top; i < min(len(g.records), s.ladder.top+room); i++ {
		lines = append(lines, marked(view.ladder(g.records[i])[0], recordColour(g.records[i]), i == s.ladder.at))
	}
	for len(lines) < room+2 {
		lines = append(lines, painted{})
	}
	lines = append(lines, painted{strings.Repeat("-", s.width), faint})
	if len(g.records) == 0 {
		return lines
	}
	r := g.records[s.ladder.at]
	about := strings.Join(slices.DeleteFunc([]string{r.Name, r.Front, r.Peer, r.Link, r.Reason}, func(text string) bool { return text == "" }), "  ")
	lines = append(lines, painted{about, recordColour(r)})
	for line := range strings.Lines(readable(r.Message)) {
		lines = append(lines, painted{text: strings.TrimRight(line, "\n")})
	}
	return lines[:min(len(lines), s.height)]
}

// save writes what is shown to a file in the working directory, and says so.
func (s *traceScreen) save() string {
	var records []*trace.Record
	if s.chosen != "" {
		records = s.group().records
	} else {
		for _, g := range s.groups() {
			records = append(records, g.records...)
		}
	}
	name := "trace-" + time.Now().Format("20060102-150405") + ".json"
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err.Error()
	}
	for _, r := range records {
		if err = writeJSON(f, r); err != nil {
			break
		}
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d records are in %s", len(records), name)
}
