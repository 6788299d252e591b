package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// serviceCommands returns the commands for services that need more than a device.
func serviceCommands() []*cobra.Command {
	return []*cobra.Command{
		toward("consult DEVICE NUMBER", "Hold a device's call and place a second call", func(c uacsta.ConnectionID, to uacsta.DeviceID) any {
			return uacsta.ConsultationCall{ExistingCall: c, ConsultedDevice: to}
		}, uacsta.Connected),
		toward("deflect DEVICE NUMBER", "Send a call that rings or waits at a device, or is answered at a queue, to a number", func(c uacsta.ConnectionID, to uacsta.DeviceID) any {
			return uacsta.DeflectCall{CallToBeDiverted: c, NewDestination: []uacsta.DeviceID{to}}
		}, uacsta.Alerting, uacsta.Queued, uacsta.Connected),
		toward("digits DEVICE DIGITS", "Send digits over a device's call", func(c uacsta.ConnectionID, digits uacsta.DeviceID) any {
			return uacsta.GenerateDigits{ConnectionToSendDigits: c, DigitMode: uacsta.DTMF, CharactersToSend: digits.ID}
		}, uacsta.Connected),
		toward("pickup DEVICE BY", "Pick up, at device BY, a call that rings, waits or is parked at DEVICE", func(c uacsta.ConnectionID, by uacsta.DeviceID) any {
			return uacsta.DirectedPickupCall{CallToBePickedUp: c, RequestingDevice: by}
		}, uacsta.Alerting, uacsta.Queued, uacsta.Hold),
		toward("park DEVICE AT", "Park a device's call at a park device; pickup takes it from there", func(c uacsta.ConnectionID, at uacsta.DeviceID) any {
			return uacsta.ParkCall{Parking: c, ParkTo: at}
		}, uacsta.Connected),
		toward("user-info DEVICE HEX", "Send data to the others in a device's call", func(c uacsta.ConnectionID, data uacsta.DeviceID) any {
			return uacsta.SendUserInformation{ExistingCall: c, UserData: uacsta.Data{String: data.ID}}
		}),
		onPair("alternate", "Swap a device's held and active call", func(held, active uacsta.ConnectionID) any {
			return uacsta.AlternateCall{HeldCall: held, ActiveCall: active}
		}),
		onPair("reconnect", "Clear a device's active call and retrieve the held one", func(held, active uacsta.ConnectionID) any {
			return uacsta.ReconnectCall{HeldCall: held, ActiveCall: active}
		}),
		conferenceCommand(), transferCommand(), groupPickupCommand(), joinCommand(), intrudeCommand(), predictCommand(), associateCommand(),
	}
}

// request sends a request and shows its response.
func (c *connection) request(ctx context.Context, req any) error {
	res, err := c.do(ctx, req)
	if err == nil {
		c.show(res)
	}
	return err
}

// present sends a request and shows its response: as it is for programs, or as the text
// that text returns.
func (c *connection) present(ctx context.Context, req any, text func(res *uacsta.Message) error) error {
	res, err := c.do(ctx, req)
	if err != nil || res == nil { // some requests have no response
		return err
	}
	if c.flags.inJSON() {
		c.show(res)
		return nil
	}
	return text(res)
}

// toward makes a command for a service on a device's call that takes a second argument.
// use is the name and the two arguments.
func toward(use, short string, request func(uacsta.ConnectionID, uacsta.DeviceID) any, states ...uacsta.LocalConnectionState) *cobra.Command {
	name, arguments, _ := strings.Cut(use, " ")
	example := map[string]string{"DEVICE NUMBER": "100 102", "DEVICE DIGITS": "100 12#", "DEVICE BY": "101 102", "DEVICE AT": "100 400", "DEVICE HEX": "100 c0ffee"}[arguments]
	return clientCommand(use, short, fmt.Sprintf("  tr87proxy %s %s", name, example), exactly(2), func(ctx context.Context, c *connection, args []string) error {
		conn, err := c.find(ctx, args[0], "", states...)
		if err != nil {
			return err
		}
		return c.request(ctx, request(conn, uacsta.Dev(args[1])))
	})
}

// pair returns a device's held and its active connection.
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
	cmd := clientCommand("conference DEVICE [NUMBER]", "Join a device's held and active call in a conference, or add a number",
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
			return c.request(ctx, uacsta.SingleStepConferenceCall{ActiveCall: conn, DeviceToJoin: uacsta.Dev(args[1]), ParticipationType: participation(silent)})
		})
	cmd.Flags().BoolVar(&silent, "silent", false, "the added number only listens")
	return cmd
}

func transferCommand() *cobra.Command {
	return clientCommand("transfer DEVICE [NUMBER]", "Connect the parties of a device's held and active call, or transfer its call to a number",
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

func participation(silent bool) uacsta.ParticipationType {
	if silent {
		return uacsta.ParticipationSilent
	}
	return uacsta.ParticipationActive
}

func prompting(prompt bool) uacsta.AutoOriginate {
	if prompt {
		return uacsta.Prompt
	}
	return uacsta.DoNotPrompt
}

func groupPickupCommand() *cobra.Command {
	return clientCommand("group-pickup DEVICE [GROUP]", "Pick up, at a device, the call that has rung longest in its pickup group",
		"  tr87proxy group-pickup 102\n  tr87proxy group-pickup 102 500", between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			req := uacsta.GroupPickupCall{NewDestination: uacsta.Dev(args[0])}
			if len(args) == 2 {
				group := uacsta.Dev(args[1])
				req.PickGroup = &group
			}
			return c.request(ctx, req)
		})
}

func joinCommand() *cobra.Command {
	var silent, prompt bool
	cmd := clientCommand("join DEVICE BY", "Join device BY to a device's call",
		"  tr87proxy join 100 102\n  tr87proxy join 100 102 --silent     102 only listens\n  tr87proxy join 100 102 --prompt     102 rings first",
		exactly(2), func(ctx context.Context, c *connection, args []string) error {
			conn, err := c.find(ctx, args[0], "", uacsta.Connected)
			if err != nil {
				return err
			}
			return c.request(ctx, uacsta.JoinCall{ActiveCall: conn, JoiningDevice: uacsta.Dev(args[1]), AutoOriginate: prompting(prompt), ParticipationType: participation(silent)})
		})
	cmd.Flags().BoolVar(&silent, "silent", false, "the joining device only listens")
	cmd.Flags().BoolVar(&prompt, "prompt", false, "ring the joining device first")
	return cmd
}

func intrudeCommand() *cobra.Command {
	var silent bool
	cmd := clientCommand("intrude DEVICE", "Let a device enter the call of the busy device that it called",
		"  tr87proxy intrude 100\n  tr87proxy intrude 100 --silent      100 only listens", exactly(1), func(ctx context.Context, c *connection, args []string) error {
			conn, err := c.find(ctx, args[0], "", uacsta.Connected)
			if err != nil {
				return err
			}
			return c.request(ctx, uacsta.IntrudeCall{Intrude: conn, ParticipationType: participation(silent)})
		})
	cmd.Flags().BoolVar(&silent, "silent", false, "the device only listens")
	return cmd
}

func predictCommand() *cobra.Command {
	var prompt, ringing bool
	var alertTime time.Duration
	cmd := clientCommand("predict FROM TO", "Call a number and connect a device or queue when it answers",
		"  tr87proxy predict 300 05550199                     for the agents of queue 300\n  tr87proxy predict 100 05550199 --prompt --alert-time 20s",
		exactly(2), func(ctx context.Context, c *connection, args []string) error {
			req := uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev(args[0]), CalledDirectoryNumber: uacsta.Dev(args[1]), AutoOriginate: prompting(prompt)}
			if ringing {
				req.SignallingDetection = &uacsta.SignallingDetection{
					SignallingCondition: uacsta.SignallingCallDelivered, SignallingConditionsAction: uacsta.SignallingConditionsActionRemainConnected,
				}
			}
			if seconds := int(alertTime / time.Second); seconds > 0 {
				req.AlertTime = &seconds
			}
			return c.request(ctx, req)
		})
	cmd.Flags().BoolVar(&prompt, "prompt", false, "ring the calling phone when it is connected")
	cmd.Flags().BoolVar(&ringing, "ringing", false, "connect as soon as the number rings")
	cmd.Flags().DurationVar(&alertTime, "alert-time", 0, "how long the number may ring; 0: the switch decides")
	return cmd
}

func associateCommand() *cobra.Command {
	var req uacsta.AssociateData
	cmd := clientCommand("associate DEVICE", "Attach data to a device's call, for its further events",
		"  tr87proxy associate 100 --correlator c0ffee\n  tr87proxy associate 100 --account 4711 --subject \"Order 12\"", exactly(1), func(ctx context.Context, c *connection, args []string) error {
			conn, err := c.find(ctx, args[0], "")
			if err != nil {
				return err
			}
			req.ExistingCall = conn
			return c.request(ctx, req)
		})
	cmd.Flags().StringVar(&req.CorrelatorData.String, "correlator", "", "correlator data, octets as hexadecimal digits")
	cmd.Flags().StringVar(&req.AccountCode, "account", "", "account code, octets as hexadecimal digits")
	cmd.Flags().StringVar(&req.SubjectOfCall, "subject", "", "subject of the call")
	return cmd
}
