package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

const scriptHelp = `script plays a call scenario against a server. The exit status is 0 if every line
succeeded, 1 if one failed, 2 if the file has a fault.

  # comments and empty lines are ignored
  monitor 100 101                       start monitors; expect needs them
  call 100 101                          any command that sends one request, with its
  answer 101                            options
  expect 101 Delivered                  wait for an event of a device; other events are
  expect 100 Held state=hold within 2s  skipped. state, cause, or any element
  never 102 Delivered within 1s         this event must not come
  refused noActiveCall hold 100         this request must be refused with this error
  filter 100 Held Retrieved             filter these events out from now on (none: no filter)
  wait 500ms`

const (
	expectPatience = 5 * time.Second // timeout of expect if the line has none
	maxScript      = 1 << 20
)

// scriptLine is one line of a script.
type scriptLine struct {
	line int
	text string
	run  func(ctx context.Context, p *scriptPlayer) error
}

func scriptCommand() *cobra.Command {
	flags := &clientFlags{}
	cmd := &cobra.Command{
		Use: "script FILE", Short: "Play a call scenario and check its events", GroupID: "client", Args: exactly(1), Long: scriptHelp,
		Example: "  tr87proxy script transfer.calls\n  tr87proxy script - < transfer.calls",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			steps, err := readScript(args[0])
			if err != nil {
				return usageError{err}
			}
			p := &scriptPlayer{out: cmd.OutOrStdout(), json: asJSON(cmd), devices: map[string]*heard{}, refs: map[string]*heard{}}
			p.c, err = flags.open(cmd.Context(), p.out, cmd.ErrOrStderr(), p.event)
			if err != nil {
				return err
			}
			defer p.c.close()
			return p.play(cmd.Context(), args[0], steps)
		},
	}
	flags.add(cmd)
	return cmd
}

// readScript reads a script and checks every line.
func readScript(file string) ([]scriptLine, error) {
	in := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var steps []scriptLine
	var faults []error
	monitored := map[string]bool{}
	lines := bufio.NewScanner(io.LimitReader(in, maxScript))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		run, err := parseStep(strings.Fields(text), monitored)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %s: %w", file, n, printable(text), err))
		}
		steps = append(steps, scriptLine{n, text, run})
	}
	if err := lines.Err(); err != nil {
		faults = append(faults, err)
	}
	if len(steps) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("%s: the file is empty", file))
	}
	return steps, errors.Join(faults...)
}

func parseStep(words []string, monitored map[string]bool) (func(context.Context, *scriptPlayer) error, error) {
	switch words[0] {
	case "monitor":
		if len(words) < 2 {
			return nil, errors.New("name the devices")
		}
		for _, device := range words[1:] {
			monitored[device] = true
		}
		return func(ctx context.Context, p *scriptPlayer) error { return p.monitor(ctx, words[1:]) }, nil
	case "filter":
		return parseFilter(words, monitored)
	case "wait":
		if len(words) != 2 {
			return nil, errors.New("write a time such as 500ms")
		}
		pause, err := time.ParseDuration(words[1])
		return func(ctx context.Context, p *scriptPlayer) error { return p.wait(ctx, pause) }, err
	case "expect", "never":
		e, err := parseExpectation(words, monitored)
		return func(ctx context.Context, p *scriptPlayer) error { return p.expect(ctx, e) }, err
	case "refused":
		if len(words) < 3 {
			return nil, errors.New("write the error value, then the request")
		}
		if !uacsta.KnownErrorValue(words[1]) {
			return nil, fmt.Errorf("no error %q in the standard", words[1])
		}
		err := scriptable(words[2:])
		return func(ctx context.Context, p *scriptPlayer) error { return p.refused(ctx, words[1], words[2:]) }, err
	}
	return func(ctx context.Context, p *scriptPlayer) error { return p.command(ctx, words) }, scriptable(words)
}

// parseFilter parses a line that changes the filter of a device's monitor.
func parseFilter(words []string, monitored map[string]bool) (func(context.Context, *scriptPlayer) error, error) {
	if len(words) < 2 || !monitored[words[1]] {
		return nil, errors.New("name a device that a line above monitors")
	}
	filter := uacsta.MonitorFilter{}
	for _, event := range words[2:] {
		if !filter.Suppress(eventName(event)) {
			return nil, fmt.Errorf("no event %s to filter out", event)
		}
	}
	return func(ctx context.Context, p *scriptPlayer) error {
		_, err := p.c.do(ctx, uacsta.ChangeMonitorFilter{MonitorCrossRefID: p.devices[words[1]].ref, RequestedFilterList: filter})
		return err
	}, nil
}

// scriptable returns an error if the words are not a command that a script can use.
func scriptable(words []string) error {
	cmd, rest, err := newRoot().Find(words)
	if err != nil || cmd.GroupID != "client" || slices.Contains([]string{"monitor", "watch", "script", "route", "devices", "system-status"}, cmd.Name()) {
		return fmt.Errorf("no such request; see tr87proxy --help and tr87proxy script --help")
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// expectation describes an event that must come, or must not come.
type expectation struct {
	device, event string
	fields        [][2]string // path and value
	within        time.Duration
	never         bool
}

func parseExpectation(words []string, monitored map[string]bool) (expectation, error) {
	e := expectation{within: expectPatience, never: words[0] == "never"}
	if len(words) < 3 {
		return e, errors.New("name the device and the event, such as Delivered")
	}
	e.device, e.event = words[1], eventName(words[2])
	switch {
	case uacsta.New(e.event) == nil:
		return e, fmt.Errorf("no event %s in the standard", words[2])
	case !monitored[e.device]:
		return e, fmt.Errorf("no line above monitors %s", e.device)
	}
	rest := words[3:]
	if len(rest) >= 2 && rest[len(rest)-2] == "within" {
		within, err := time.ParseDuration(rest[len(rest)-1])
		if err != nil {
			return e, err
		}
		e.within, rest = within, rest[:len(rest)-2]
	} else if e.never {
		return e, errors.New("add a time: never ... within 1s")
	}
	for _, word := range rest {
		path, value, ok := strings.Cut(word, "=")
		if !ok {
			return e, fmt.Errorf("%q: write element=value", word)
		}
		if path == "state" {
			path = "localConnectionInfo"
		}
		e.fields = append(e.fields, [2]string{path, value})
	}
	return e, nil
}

func (e expectation) meets(m *uacsta.Message) bool {
	if m.Name() != e.event {
		return false
	}
	return !slices.ContainsFunc(e.fields, func(f [2]string) bool { return m.Text(f[0]) != f[1] && m.Text(f[0]+"/deviceIdentifier") != f[1] })
}

// scriptPlayer plays a script over one session.
type scriptPlayer struct {
	json bool
	c    *connection
	out  io.Writer

	mu      sync.Mutex
	devices map[string]*heard
	refs    map[string]*heard // by cross reference
	early   []*uacsta.Message // events of monitors whose response has not arrived
}

// heard has the events of one device that no line has taken yet.
type heard struct {
	ref    string // cross reference of its monitor
	events []*uacsta.Message
	more   chan struct{}
}

const maxHeard = 10000

func (p *scriptPlayer) event(m *uacsta.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.refs[m.CrossRef()]; h != nil {
		h.put(m)
		return
	}
	if len(p.early) < maxHeard {
		p.early = append(p.early, m)
	}
}

func (h *heard) put(m *uacsta.Message) {
	if len(h.events) < maxHeard {
		h.events = append(h.events, m)
	}
	select {
	case h.more <- struct{}{}:
	default:
	}
}

func (p *scriptPlayer) play(ctx context.Context, file string, steps []scriptLine) error {
	for _, s := range steps {
		began := time.Now()
		err := s.run(ctx, p)
		p.tell(s, time.Since(began), err)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, s.line, err)
		}
	}
	return nil
}

// tell writes how a line went.
func (p *scriptPlayer) tell(s scriptLine, took time.Duration, err error) {
	switch {
	case p.json:
		_ = writeJSON(p.out, struct {
			Line int     `json:"line"`
			Text string  `json:"text"`
			MS   float64 `json:"ms"`
			OK   bool    `json:"ok"`
		}{s.line, s.text, float64(took.Microseconds()) / 1000, err == nil})
	case err != nil:
		fmt.Fprintf(p.out, "%4d  FAILED  %s\n", s.line, printable(s.text))
	default:
		fmt.Fprintf(p.out, "%4d  %5.0f ms  %s\n", s.line, float64(took.Microseconds())/1000, printable(s.text))
	}
}

func (p *scriptPlayer) monitor(ctx context.Context, devices []string) error {
	for _, device := range devices {
		ref, err := p.c.watch(ctx, device)
		if err != nil {
			return err
		}
		p.mu.Lock()
		h := &heard{ref: ref, more: make(chan struct{}, 1)}
		p.devices[device], p.refs[ref] = h, h
		for _, m := range p.early {
			if m.CrossRef() == ref {
				h.put(m)
			}
		}
		p.mu.Unlock()
	}
	return nil
}

func (p *scriptPlayer) wait(ctx context.Context, pause time.Duration) error {
	select {
	case <-time.After(pause):
		return nil
	case err := <-p.c.ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// command runs one of our own commands over the script's session.
func (p *scriptPlayer) command(ctx context.Context, words []string) error {
	root := newRoot()
	root.SetArgs(words)
	root.SetOut(io.Discard)
	return root.ExecuteContext(context.WithValue(ctx, lending{}, p.c))
}

func (p *scriptPlayer) refused(ctx context.Context, value string, words []string) error {
	err := p.command(ctx, words)
	var refusal *uacsta.Error
	switch {
	case err == nil:
		return fmt.Errorf("the request was not refused")
	case !errors.As(err, &refusal) || refusal.Value != value:
		return fmt.Errorf("refused with another error: %w", err)
	}
	return nil
}

// expect waits for an event, and takes it and all events before it.
func (p *scriptPlayer) expect(ctx context.Context, e expectation) error {
	h := p.devices[e.device]
	deadline := time.After(e.within)
	for {
		p.mu.Lock()
		i := slices.IndexFunc(h.events, e.meets)
		came := names(h.events)
		if i >= 0 {
			h.events = h.events[i+1:]
		}
		p.mu.Unlock()
		if i >= 0 {
			if e.never {
				return fmt.Errorf("%s came", e.event)
			}
			return nil
		}
		select {
		case <-h.more:
		case <-deadline:
			if e.never {
				return nil
			}
			return fmt.Errorf("it did not come within %v; at %s came: %s", e.within, e.device, came)
		case err := <-p.c.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// names returns the names of events as text.
func names(events []*uacsta.Message) string {
	if len(events) == 0 {
		return "nothing"
	}
	var all []string
	for _, m := range events {
		all = append(all, describe(m, nil))
	}
	return strings.Join(all, "; ")
}
