package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

// screen shows the rows of a watcher in a terminal. It is a tea.Model.
type screen struct {
	w             *watcher
	width, height int
	top           int // the first row that is shown
	order         order
	busyOnly      bool
	filter        filter
}

// order is how rows are sorted.
type order int

const (
	byDevice order = iota
	byState        // devices with calls first
	byAge          // the oldest calls first
	orders
)

func (o order) String() string { return [...]string{"device", "state", "age"}[o] }

// Messages of the screen.
type (
	redraw  struct{}        // the rows have changed
	tick    struct{}        // a second has passed
	watched struct{ error } // the watcher has ended
)

func nextSecond() tea.Cmd { return tea.Tick(time.Second, func(time.Time) tea.Msg { return tick{} }) }

// onScreen watches in a terminal until the user ends it.
func (w *watcher) onScreen(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.errOut = io.Discard // it would disturb the screen, which shows trouble itself
	s := &screen{w: w, width: narrow, height: 24}
	program := tea.NewProgram(s, tea.WithContext(ctx), tea.WithOutput(out), tea.WithoutSignalHandler())
	w.changed = func() { program.Send(redraw{}) }
	ended := make(chan error, 1)
	go func() {
		err := w.run(ctx)
		ended <- err
		program.Send(watched{err})
	}()
	_, err := program.Run()
	interrupted := ctx.Err() != nil
	cancel()
	if failed := <-ended; failed != nil {
		return failed
	}
	if interrupted {
		return nil
	}
	return err
}

// Init implements tea.Model.
func (s *screen) Init() tea.Cmd { return nextSecond() }

// Update implements tea.Model.
func (s *screen) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = m.Width, m.Height
	case watched:
		return s, tea.Quit
	case tick:
		return s, nextSecond()
	case tea.KeyPressMsg:
		return s, s.key(m)
	}
	return s, nil
}

// key handles a key.
func (s *screen) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	if name == "ctrl+c" {
		return tea.Quit
	}
	if s.filter.key(k) {
		return nil
	}
	var moves bool
	if s.top, moves = moved(s.top, name, max(1, s.height-headLines)); moves {
		return nil
	}
	switch name {
	case "q":
		return tea.Quit
	case "s":
		s.order = (s.order + 1) % orders
	case "a":
		s.busyOnly = !s.busyOnly
	}
	return nil
}

// View implements tea.Model.
func (s *screen) View() tea.View {
	v := tea.NewView(s.text(time.Now()))
	v.AltScreen = true
	return v
}

// text returns the screen.
func (s *screen) text(now time.Time) string {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	rows := s.selected()
	s.top = max(0, min(s.top, len(rows)-max(1, s.height-headLines)))
	end := min(len(rows), s.top+max(0, s.height-headLines))
	shown := fmt.Sprintf("%d devices", len(s.w.rows))
	if len(rows) < len(s.w.rows) {
		shown = fmt.Sprintf("%d of %d devices", len(rows), len(s.w.rows))
	}
	if len(rows) > end-s.top {
		shown += fmt.Sprintf(", %d to %d", s.top+1, end)
	}
	lines := plainLines(now.Format(time.TimeOnly)+"  "+shown+" by "+s.order.String()+"  "+s.filter.or("/ filter  s sort  a active  q quit"), s.w.trouble,
		fmt.Sprintf("%-20s %-11s %-28s %9s", "DEVICE", "STATE", "CALL", "FOR"))
	lines[1].colour = bad
	for _, r := range rows[s.top:end] {
		lines = append(lines, painted{r.line(s.w.names, now), r.colour()})
	}
	return fitted(lines, s.width, s.w.painter)
}

// selected returns the rows that the filter leaves, in their order. The caller holds the watcher's lock.
func (s *screen) selected() []*row {
	var rows []*row
	known := s.w.names
	for _, r := range s.w.rows {
		if (!s.busyOnly || len(r.calls) > 0) && s.filter.chooses(known.of(r.device)+" "+r.text(known, time.Time{})) {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b *row) int {
		switch {
		case s.order == byState:
			return cmp.Or(len(b.calls)-len(a.calls), strings.Compare(a.text(known, time.Time{}), b.text(known, time.Time{})))
		case s.order == byAge && len(a.calls) > 0 && len(b.calls) > 0:
			return a.calls[0].since.Compare(b.calls[0].since)
		case s.order == byAge:
			return len(b.calls) - len(a.calls)
		}
		return 0
	})
	return rows
}

// line returns the row for the screen: its first call in columns, and what else there is behind them.
func (r *row) line(known deviceNames, now time.Time) string {
	state, call, age, more := "idle", "", "", r.active()
	if len(r.calls) > 0 {
		c := r.calls[0]
		state, call, age = c.state, c.parties(known), c.age(now)
	}
	for _, c := range r.calls[min(1, len(r.calls)):] {
		more = "  and " + strings.TrimSpace(c.state+" "+c.parties(known)) + more
	}
	return printable(fmt.Sprintf("%s %-11s %-28s %9s%s", column(known.of(r.device), 20), state, call, age, more))
}
