package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// inbox holds messages of the server until the command reads them.
type inbox struct {
	messages chan *uacsta.Message
	overflow chan struct{}
}

func newInbox() *inbox {
	return &inbox{messages: make(chan *uacsta.Message, 1024), overflow: make(chan struct{}, 1)}
}

func (b *inbox) put(m *uacsta.Message) {
	select {
	case b.messages <- m:
	default:
		select {
		case b.overflow <- struct{}{}:
		default:
		}
	}
}

var errOverflow = errors.New("too many events: some were dropped")

// listen passes on messages of the server: count of them, or all if count is 0. It returns
// nil when the user interrupts it.
func (c *connection) listen(ctx context.Context, count int, got func(*uacsta.Message) error) error {
	for n := 0; count == 0 || n < count; n++ {
		select {
		case m := <-c.inbox.messages:
			if err := got(m); err != nil {
				return err
			}
		case <-c.inbox.overflow:
			return errOverflow
		case err := <-c.ended:
			return fmt.Errorf("the session has ended: %w", err)
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func monitorCommand() *cobra.Command {
	var count int
	var call string
	var follow bool
	var without []string
	cmd := clientCommand("monitor DEVICE...", "Monitor devices and show their events until interrupted",
		"  tr87proxy monitor 100\n  tr87proxy monitor --json --count 3 100 101\n  tr87proxy monitor --follow 300           calls that reach 300, until they end\n  tr87proxy monitor --without Delivered,Held 100\n  tr87proxy monitor 100 --call 1423907     one call, until it ends",
		between(1, 500), func(ctx context.Context, c *connection, args []string) error {
			var filter *uacsta.MonitorFilter
			for _, name := range without {
				if filter == nil {
					filter = &uacsta.MonitorFilter{}
				}
				if !filter.Suppress(eventName(name)) {
					return usageError{fmt.Errorf("no event %q to filter out", name)}
				}
			}
			c.monitored = map[string]string{}
			for _, device := range args {
				object := uacsta.Dev(device)
				watch := uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}, RequestedMonitorFilter: filter}
				if call != "" {
					conn := uacsta.Conn(call, device)
					watch.MonitorObject = uacsta.MonitorObject{CallObject: &conn}
				}
				if follow || call != "" {
					watch.MonitorType = uacsta.MonitorCall
				}
				res, err := c.do(ctx, watch)
				if err != nil {
					return fmt.Errorf("%s: %w", device, err)
				}
				c.monitored[res.CrossRef()] = device
				note(c.errOut, c.flags.inJSON(), "monitor %s on %s", res.CrossRef(), device)
			}
			if !c.flags.inJSON() {
				c.names.ask(ctx, c, args...)
			}
			return c.listen(ctx, count, func(m *uacsta.Message) error {
				c.event(m)
				return nil
			})
		})
	cmd.Flags().BoolVar(&follow, "follow", false, "follow each call until it ends, wherever it goes")
	cmd.Flags().StringSliceVar(&without, "without", nil, "events to filter out, such as Delivered")
	cmd.Flags().StringVar(&call, "call", "", "monitor only this call of the device")
	cmd.Flags().IntVar(&count, "count", 0, "stop after this many messages; 0: never")
	return cmd
}

// eventName returns the name of an event in ECMA-323 for a word of the command line.
func eventName(word string) string {
	name := strings.TrimSuffix(word, "Event") + "Event"
	if name == "TransferredEvent" {
		return uacsta.NameTransferedEvent // as the standard spells it
	}
	return name
}

// watch starts a monitor on a device and returns its cross reference.
func (c *connection) watch(ctx context.Context, device string) (string, error) {
	object := uacsta.Dev(device)
	res, err := c.do(ctx, uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}})
	if err != nil {
		return "", fmt.Errorf("%s: %w", device, err)
	}
	return res.CrossRef(), nil
}
