package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// serviceCommands are the commands for services that need more than a device.
func serviceCommands() []*cobra.Command {
	return []*cobra.Command{
		toNumber("consult", "Hold a device's call and place a second one", uacsta.Connected, func(c uacsta.ConnectionID, to uacsta.DeviceID) any {
			return uacsta.ConsultationCall{ExistingCall: c, ConsultedDevice: to}
		}),
		toNumber("deflect", "Send a call that rings at a device somewhere else", uacsta.Alerting, func(c uacsta.ConnectionID, to uacsta.DeviceID) any {
			return uacsta.DeflectCall{CallToBeDiverted: c, NewDestination: []uacsta.DeviceID{to}}
		}),
		toNumber("digits", "Send digits over a device's call", uacsta.Connected, func(c uacsta.ConnectionID, digits uacsta.DeviceID) any {
			return uacsta.GenerateDigits{ConnectionToSendDigits: c, DigitMode: uacsta.DTMF, CharactersToSend: digits.ID}
		}),
		onPair("alternate", "Swap a device's held and active call", func(held, active uacsta.ConnectionID) any {
			return uacsta.AlternateCall{HeldCall: held, ActiveCall: active}
		}),
		onPair("reconnect", "Drop a device's active call and take the held one back", func(held, active uacsta.ConnectionID) any {
			return uacsta.ReconnectCall{HeldCall: held, ActiveCall: active}
		}),
		toNumber("pickup", "Take a call that rings at a device at another one", uacsta.Alerting, func(c uacsta.ConnectionID, by uacsta.DeviceID) any {
			return uacsta.DirectedPickupCall{CallToBePickedUp: c, RequestingDevice: by}
		}),
		conferenceCommand(), transferCommand(), forwardCommand(), dndCommand(),
	}
}

// request sends a request and shows its answer.
func (c *connection) request(ctx context.Context, req any) error {
	res, err := c.do(ctx, req)
	if err == nil {
		c.show(res)
	}
	return err
}

// present sends a request and shows its answer: to programs as it is, to people by
// text.
func (c *connection) present(ctx context.Context, req any, text func(res *uacsta.Message) error) error {
	res, err := c.do(ctx, req)
	if err != nil {
		return err
	}
	if c.flags.json {
		c.show(res)
		return nil
	}
	return text(res)
}

// toNumber makes a command for a service on a device's only call in a state.
func toNumber(name, short string, state uacsta.LocalConnectionState, request func(uacsta.ConnectionID, uacsta.DeviceID) any) *cobra.Command {
	what := map[string]string{"digits": "DIGITS", "pickup": "BY"}[name]
	if what == "" {
		what = "NUMBER"
	}
	return clientCommand(name+" DEVICE "+what, short, fmt.Sprintf("  tr87proxy %s 100 102", name), exactly(2), func(ctx context.Context, c *connection, args []string) error {
		conn, err := c.find(ctx, args[0], "", state)
		if err != nil {
			return err
		}
		return c.request(ctx, request(conn, uacsta.Dev(args[1])))
	})
}

// pair finds a device's held and its active call.
func (c *connection) pair(ctx context.Context, device string) (held, active uacsta.ConnectionID, err error) {
	if held, err = c.find(ctx, device, "", uacsta.Hold); err != nil {
		return held, active, err
	}
	active, err = c.find(ctx, device, "", uacsta.Connected)
	return held, active, err
}

func onPair(name, short string, request func(held, active uacsta.ConnectionID) any) *cobra.Command {
	return clientCommand(name+" DEVICE", short, fmt.Sprintf("  tr87proxy %s 100", name), exactly(1), func(ctx context.Context, c *connection, args []string) error {
		held, active, err := c.pair(ctx, args[0])
		if err != nil {
			return err
		}
		return c.request(ctx, request(held, active))
	})
}

func conferenceCommand() *cobra.Command {
	var silent bool
	cmd := clientCommand("conference DEVICE [NUMBER]", "Join a device's held and active call in a conference, or add a number to its call",
		"  tr87proxy conference 100               after tr87proxy consult 100 102\n  tr87proxy conference 100 102           in one step\n  tr87proxy conference 100 102 --silent  102 only listens",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 1 {
				held, active, err := c.pair(ctx, args[0])
				if err != nil {
					return err
				}
				return c.request(ctx, uacsta.ConferenceCall{HeldCall: held, ActiveCall: active})
			}
			conn, err := c.find(ctx, args[0], "", uacsta.Connected)
			if err != nil {
				return err
			}
			req := uacsta.SingleStepConferenceCall{ActiveCall: conn, DeviceToJoin: uacsta.Dev(args[1]), ParticipationType: uacsta.ParticipationActive}
			if silent {
				req.ParticipationType = uacsta.ParticipationSilent
			}
			return c.request(ctx, req)
		})
	cmd.Flags().BoolVar(&silent, "silent", false, "the number that is added only listens")
	return cmd
}

func transferCommand() *cobra.Command {
	return clientCommand("transfer DEVICE [NUMBER]", "Join a device's held and active call without it, or send its call to a number",
		"  tr87proxy transfer 100          after tr87proxy consult 100 102\n  tr87proxy transfer 100 102      in one step",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 1 {
				held, active, err := c.pair(ctx, args[0])
				if err != nil {
					return err
				}
				return c.request(ctx, uacsta.TransferCall{HeldCall: held, ActiveCall: active})
			}
			conn, err := c.find(ctx, args[0], "", uacsta.Connected)
			if err != nil {
				return err
			}
			return c.request(ctx, uacsta.SingleStepTransferCall{ActiveCall: conn, TransferredTo: uacsta.Dev(args[1])})
		})
}

// forwardingTypes are the words of the command line.
var forwardingTypes = map[string]uacsta.ForwardingType{
	"always": uacsta.ForwardImmediate, "busy": uacsta.ForwardBusy, "no-answer": uacsta.ForwardNoAns,
}

func forwardCommand() *cobra.Command {
	var rings int
	cmd := clientCommand("forward DEVICE [always|busy|no-answer NUMBER|off]", "Show or change where a device's calls are forwarded to",
		"  tr87proxy forward 100\n  tr87proxy forward 100 always 102\n  tr87proxy forward 100 no-answer 102 --rings 4\n  tr87proxy forward 100 always off",
		between(1, 3), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 1 {
				return c.showForwarding(ctx, args[0])
			}
			kind, ok := forwardingTypes[args[1]]
			if !ok || len(args) != 3 {
				return usageError{fmt.Errorf("after the device write always, busy or no-answer, then a number or off")}
			}
			req := uacsta.SetForwarding{Device: uacsta.Dev(args[0]), ForwardingType: kind, ActivateForward: args[2] != "off"}
			if req.ActivateForward {
				to := uacsta.Dev(args[2])
				req.ForwardDN = &to
			}
			if rings > 0 {
				req.RingCount = &rings
			}
			return c.request(ctx, req)
		})
	cmd.Flags().IntVar(&rings, "rings", 0, "rings before a call is forwarded, for no-answer")
	return cmd
}

func (c *connection) showForwarding(ctx context.Context, device string) error {
	return c.present(ctx, uacsta.GetForwarding{Device: uacsta.Dev(device)}, func(res *uacsta.Message) error {
		var forwarding uacsta.GetForwardingResponse
		if err := res.Decode(&forwarding); err != nil {
			return err
		}
		for _, item := range forwarding.ForwardingList {
			line := fmt.Sprintf("%-17s off", item.ForwardingType)
			if item.ForwardStatus && item.ForwardDN != nil {
				line = fmt.Sprintf("%-17s to %s", item.ForwardingType, item.ForwardDN.ID)
			}
			if item.RingCount != nil {
				line += fmt.Sprintf("  after %d rings", *item.RingCount)
			}
			fmt.Fprintln(c.out, printable(line))
		}
		return nil
	})
}

func dndCommand() *cobra.Command {
	return clientCommand("dnd DEVICE [on|off]", "Show or change whether a device refuses calls", "  tr87proxy dnd 100\n  tr87proxy dnd 100 on",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 2 {
				if args[1] != "on" && args[1] != "off" {
					return usageError{fmt.Errorf("after the device write on or off")}
				}
				return c.request(ctx, uacsta.SetDoNotDisturb{Device: uacsta.Dev(args[0]), DoNotDisturbOn: args[1] == "on"})
			}
			return c.present(ctx, uacsta.GetDoNotDisturb{Device: uacsta.Dev(args[0])}, func(res *uacsta.Message) error {
				var setting uacsta.GetDoNotDisturbResponse
				if err := res.Decode(&setting); err != nil {
					return err
				}
				fmt.Fprintln(c.out, map[bool]string{true: "on", false: "off"}[setting.DoNotDisturbOn])
				return nil
			})
		})
}
