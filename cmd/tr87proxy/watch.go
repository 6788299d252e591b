package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func watchCommand() *cobra.Command {
	flags := &clientFlags{}
	var plain bool
	cmd := &cobra.Command{
		Use: "watch [DEVICE...]", Short: "Show devices and their calls live until interrupted", GroupID: "client", Args: between(0, 500),
		ValidArgsFunction: completeArguments(flags, "watch [DEVICE...]"),
		Long: `watch shows each device with its calls: the state, who called whom, and how long; and its active
features. It shows names where the switch tells them. In a terminal the arrows and Page Up and Down scroll, / filters, s sorts, a shows only
devices with calls, q ends. Elsewhere it writes a line for each change. When the connection is
lost, it connects again.`,
		Example: `  tr87proxy watch                every extension, queue and trunk that you may observe
  tr87proxy watch 100 101 300
  tr87proxy watch --plain > log  a line for each change`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w := &watcher{flags: flags, devices: args, errOut: cmd.ErrOrStderr()}
			out := cmd.OutOrStdout()
			w.painter = painterFor(cmd, out)
			if w.json = asJSON(cmd); !plain && !w.json && terminal(out) {
				return w.onScreen(cmd.Context(), out)
			}
			w.changed = func() { w.write(out) }
			return w.run(cmd.Context())
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&plain, "plain", false, "write a line for each change, also on a terminal")
	return cmd
}

// watcher keeps rows about devices up to date.
type watcher struct {
	flags   *clientFlags
	devices []string // none: all that there are
	errOut  io.Writer
	json    bool
	painter painter
	changed func() // is called after each change

	mu      sync.Mutex
	rows    []*row
	names   deviceNames
	trouble string // why the rows may be out of date; "": they are not
}

// run watches until ctx ends, or the first connection fails.
func (w *watcher) run(ctx context.Context) error {
	for again := (gate.BackOff{First: time.Second, Most: 15 * time.Second}); ; {
		began := time.Now()
		ready, err := w.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the user has interrupted it
		case !ready && w.fresh():
			return err
		}
		if ready && time.Since(began) > time.Minute {
			again.Reset()
		}
		pause := again.Next()
		w.say(fmt.Sprintf("not connected, trying again in %s: %v", max(time.Second, pause.Round(time.Second)), err))
		if !gate.Sleep(ctx, pause) {
			return nil
		}
	}
}

// fresh reports whether nothing was shown yet.
func (w *watcher) fresh() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.rows) == 0
}

// say makes known why the rows may be out of date; "": they are up to date.
func (w *watcher) say(trouble string) {
	w.mu.Lock()
	w.trouble = trouble
	w.mu.Unlock()
	w.changed()
}

// once watches over one connection, until it ends. ready says that all rows were filled.
func (w *watcher) once(ctx context.Context) (ready bool, err error) {
	c, err := w.flags.open(ctx, io.Discard, w.errOut, nil)
	if err != nil {
		return false, err
	}
	defer c.close()
	rows, byRef, err := w.begin(ctx, c)
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	for _, r := range rows {
		r.keep(w.rows)
	}
	w.rows, w.names, w.trouble = rows, c.names, ""
	w.mu.Unlock()
	w.changed()
	alive, stop := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop(nil)
	group.Go(func() { stop(c.attend(alive)) })
	err = c.listen(alive, 0, func(m *uacsta.Message) error {
		r := byRef[m.CrossRef()]
		if r == nil {
			return nil
		}
		now := row{device: r.device, calls: r.calls, features: maps.Clone(r.features)} // only this goroutine changes them
		if !now.feature(m) {
			if err := now.look(ctx, c, m); err != nil {
				return err
			}
		}
		w.mu.Lock()
		c.names.learn(m)
		r.calls, r.features = now.calls, now.features
		w.mu.Unlock()
		w.changed()
		return nil
	})
	return true, cmp.Or(err, context.Cause(alive))
}

// attend asks the server again and again for its status, and returns why it does not answer.
func (c *connection) attend(ctx context.Context) error {
	for gate.Sleep(ctx, attention) {
		if _, err := c.do(ctx, uacsta.RequestSystemStatus{}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// attention is how often watch asks whether the server is still there.
const attention = 3 * time.Second

// begin starts the monitors and fills the rows.
func (w *watcher) begin(ctx context.Context, c *connection) (rows []*row, byRef map[string]*row, err error) {
	devices := w.devices
	if len(devices) == 0 {
		list, err := c.devices(ctx, "", nil)
		if err != nil {
			return nil, nil, err
		}
		for _, d := range list {
			if d.DeviceID != nil && d.DeviceCategory != uacsta.CategoryRouteingDevice {
				devices = append(devices, d.DeviceID.ID)
			}
		}
	}
	byRef = map[string]*row{}
	for _, device := range devices {
		r := &row{device: device}
		ref, err := c.watch(ctx, device)
		if err == nil {
			err = r.look(ctx, c, nil)
		}
		if err == nil {
			err = r.ask(ctx, c)
		}
		if err != nil {
			return nil, nil, err
		}
		rows, byRef[ref] = append(rows, r), r
	}
	c.names.ask(ctx, c, devices...)
	return rows, byRef, nil
}

// keep takes over what is known from rows of a connection before.
func (r *row) keep(before []*row) {
	at := slices.IndexFunc(before, func(b *row) bool { return b.device == r.device })
	if at < 0 {
		return
	}
	r.shown = before[at].shown
	for i := range r.calls {
		r.calls[i].keep(before[at].calls)
	}
}

// watchedDevice is a row for programs.
type watchedDevice struct {
	Time     time.Time         `json:"time"`
	Device   string            `json:"device"`
	Name     string            `json:"name,omitempty"`
	Calls    []watchedCall     `json:"calls"`
	Features map[string]string `json:"features,omitempty"`
}

type watchedCall struct {
	Call      string    `json:"call"`
	State     string    `json:"state"`
	Direction string    `json:"direction,omitempty"` // from: the device was called; to: it calls
	With      string    `json:"with,omitempty"`
	Name      string    `json:"name,omitempty"` // of with
	Since     time.Time `json:"since,omitzero"` // absent: before watch began
}

// entry returns the row for programs.
func (r *row) entry(known deviceNames, now time.Time) watchedDevice {
	e := watchedDevice{Time: now, Device: r.device, Name: known[r.device], Calls: []watchedCall{}, Features: r.features}
	for _, c := range r.calls {
		w := watchedCall{Call: c.id, State: c.state, With: c.with, Name: known[c.with]}
		if c.direction != unclear {
			w.Direction = c.direction.String()
		}
		if !c.earlier {
			w.Since = c.since
		}
		e.Calls = append(e.Calls, w)
	}
	return e
}

// write writes a line for each row that has changed, and for trouble.
func (w *watcher) write(out io.Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	if w.trouble != "" {
		note(w.errOut, w.json, "tr87proxy: %s", w.trouble)
	}
	for _, r := range w.rows {
		if text := r.text(w.names, time.Time{}); text != r.shown {
			r.shown = text
			if w.json {
				_ = writeJSON(&b, r.entry(w.names, time.Now()))
				continue
			}
			fmt.Fprintln(&b, w.painter.paint(r.colour(), fmt.Sprintf("%s  %-12s %s", time.Now().Format("15:04:05.000"), printable(w.names.of(r.device)), r.text(w.names, time.Now()))))
		}
	}
	fmt.Fprint(out, b.String())
}
