package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// screen is the live state of devices.
type screen struct {
	c       *connection
	out     io.Writer
	redraws bool // redraw the table, on a terminal; otherwise write a line for each change
	rows    []*row
	byRef   map[string]*row
}

// row is one device.
type row struct {
	device   string
	calls    []string
	features map[string]string // active features by name
	shown    string
}

func watchCommand() *cobra.Command {
	var plain bool
	cmd := clientCommand("watch [DEVICE...]", "Show devices and their calls live until interrupted",
		"  tr87proxy watch                every extension, queue and trunk that you may observe\n  tr87proxy watch 100 101 300\n  tr87proxy watch --plain > log  a line for each change",
		between(0, 500), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 0 {
				list, err := c.devices(ctx, "", nil)
				if err != nil {
					return err
				}
				for _, d := range list {
					if d.DeviceID != nil && d.DeviceCategory != uacsta.CategoryRouteingDevice {
						args = append(args, d.DeviceID.ID)
					}
				}
			}
			s := &screen{c: c, out: c.out, redraws: !plain && terminal(c.out), byRef: map[string]*row{}}
			if s.redraws {
				fmt.Fprint(s.out, "\x1b[?25l\x1b[2J") // hide the cursor, clear the screen
				defer fmt.Fprint(s.out, "\x1b[?25h\n")
			}
			return s.run(ctx, args)
		})
	cmd.Flags().BoolVar(&plain, "plain", false, "write a line for each change, also on a terminal")
	return cmd
}

// terminal reports whether the output is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (s *screen) run(ctx context.Context, devices []string) error {
	for _, device := range devices {
		ref, err := s.c.watch(ctx, device)
		if err != nil {
			return err
		}
		r := &row{device: device, features: map[string]string{}}
		s.rows = append(s.rows, r)
		s.byRef[ref] = r
		if err := s.look(ctx, r); err != nil {
			return err
		}
		if err := s.ask(ctx, r); err != nil {
			return err
		}
	}
	s.draw()
	return s.c.listen(ctx, 0, func(m *uacsta.Message) error {
		r := s.byRef[m.CrossRef()]
		if r == nil {
			return nil
		}
		if !r.feature(m) {
			if err := s.look(ctx, r); err != nil {
				return err
			}
		}
		s.draw()
		return nil
	})
}

// look replaces a device's calls by a snapshot, which corrects missed events.
func (s *screen) look(ctx context.Context, r *row) error {
	res, err := s.c.do(ctx, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(r.device)})
	if err != nil {
		return err
	}
	calls, err := callsOf(res)
	if err != nil {
		return err
	}
	r.calls = nil
	for _, info := range calls {
		states := info.LocalCallState.CompoundCallState
		if len(states) == 0 {
			continue
		}
		line := string(states[0])
		switch {
		case info.EndpointDevice != nil:
			line += " with " + info.EndpointDevice.Device.ID
			if len(states) == 2 && states[1] != uacsta.Connected {
				line += " (" + string(states[1]) + ")"
			}
		case len(states) > 2:
			line += fmt.Sprintf(" with %d others", len(states)-1)
		}
		r.calls = append(r.calls, line)
	}
	return nil
}

// ask requests the active features. A device without features refuses.
func (s *screen) ask(ctx context.Context, r *row) error {
	device := uacsta.Dev(r.device)
	for _, req := range []any{
		uacsta.GetDoNotDisturb{Device: device}, uacsta.GetForwarding{Device: device}, uacsta.GetMessageWaitingIndicator{Device: device},
		uacsta.GetAutoAnswer{Device: device}, uacsta.GetAgentState{Device: device},
	} {
		res, err := s.c.do(ctx, req)
		var refusal *uacsta.Error
		if errors.As(err, &refusal) {
			continue
		}
		if err != nil {
			return err
		}
		r.feature(res)
		var forwarding uacsta.GetForwardingResponse
		if res.Name() == uacsta.NameGetForwardingResponse && res.Decode(&forwarding) == nil {
			for _, item := range forwarding.ForwardingList {
				if item.ForwardStatus && item.ForwardDN != nil {
					r.features[string(item.ForwardingType)] = "to " + item.ForwardDN.ID
				}
			}
		}
		var agents uacsta.GetAgentStateResponse
		if res.Name() == uacsta.NameGetAgentStateResponse && res.Decode(&agents) == nil {
			for _, a := range agents.AgentStateList {
				for _, info := range a.AgentInfo {
					r.features["agent "+a.AgentID] = strings.TrimPrefix(string(info.AgentState), "agent")
				}
			}
		}
	}
	return nil
}

// feature stores an event or response about a feature.
func (r *row) feature(m *uacsta.Message) bool {
	set := func(name, value string, on bool) {
		delete(r.features, name)
		if on {
			r.features[name] = value
		}
	}
	on := func(path string) bool { return m.Text(path) == "true" }
	switch name := m.Name(); name {
	case uacsta.NameDoNotDisturbEvent, uacsta.NameGetDoNotDisturbResponse:
		set("dnd", "", on("doNotDisturbOn"))
	case uacsta.NameForwardingEvent:
		set(m.Text("forwardingType"), "to "+m.Text("forwardTo"), on("forwardStatus"))
	case uacsta.NameMessageWaitingEvent, uacsta.NameGetMessageWaitingIndicatorResponse:
		set("message", "", on("messageWaitingOn"))
	case uacsta.NameAutoAnswerEvent, uacsta.NameGetAutoAnswerResponse:
		set("auto-answer", "", on("autoAnswerOn"))
	default:
		if !strings.HasPrefix(name, "Agent") {
			return false
		}
		state := strings.TrimSuffix(strings.TrimPrefix(name, "Agent"), "Event")
		set("agent "+m.Text("agentID"), state, state != "LoggedOff")
	}
	return true
}

// text returns the row as text.
func (r *row) text() string {
	text := strings.Join(r.calls, ", ")
	if len(r.calls) == 0 {
		text = "idle"
	}
	for _, name := range slices.Sorted(maps.Keys(r.features)) {
		text += "  " + strings.TrimSpace(name+" "+r.features[name])
	}
	return printable(text)
}

func (s *screen) draw() {
	var b strings.Builder
	if s.redraws {
		b.WriteString("\x1b[H")
		fmt.Fprintf(&b, "%s  %d devices, Ctrl-C ends\x1b[K\n\x1b[K\n", time.Now().Format("15:04:05"), len(s.rows))
		for _, r := range s.rows {
			fmt.Fprintf(&b, "%-12s %s\x1b[K\n", printable(r.device), r.text())
		}
		b.WriteString("\x1b[J")
	} else {
		for _, r := range s.rows {
			if text := r.text(); text != r.shown {
				r.shown = text
				fmt.Fprintf(&b, "%s  %-12s %s\n", time.Now().Format("15:04:05.000"), printable(r.device), text)
			}
		}
	}
	fmt.Fprint(s.out, b.String())
}
