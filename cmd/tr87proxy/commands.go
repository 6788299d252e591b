package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// clientCommands returns the commands that control a running server.
func clientCommands() []*cobra.Command {
	return []*cobra.Command{
		monitorCommand(), callCommand(), snapshotCommand(), featuresCommand(), sendCommand(),
		onConnection("answer", "Answer a call that rings at a device or waits in a queue", func(c uacsta.ConnectionID) any { return uacsta.AnswerCall{CallToBeAnswered: c} }, uacsta.Alerting, uacsta.Queued),
		onConnection("hold", "Hold a device's call", func(c uacsta.ConnectionID) any { return uacsta.HoldCall{CallToBeHeld: c} }, uacsta.Connected),
		onConnection("retrieve", "Retrieve a device's held call", func(c uacsta.ConnectionID) any { return uacsta.RetrieveCall{CallToBeRetrieved: c} }, uacsta.Hold),
		onConnection("clear", "Hang up at a device", func(c uacsta.ConnectionID) any { return uacsta.ClearConnection{ConnectionToBeCleared: c} }),
		onConnection("clear-call", "Clear a device's call for everybody in it", func(c uacsta.ConnectionID) any { return uacsta.ClearCall{CallToBeCleared: c} }),
		onConnection("campon", "Let a call wait until the busy device that it called is free", func(c uacsta.ConnectionID) any { return uacsta.CamponCall{CamponConnection: c} }, uacsta.Connected),
	}
}

// clientCommand makes a command that opens a session, runs do, and closes the session.
// Messages of the server go to the inbox of the connection.
func clientCommand(use, short, example string, args cobra.PositionalArgs, do func(ctx context.Context, c *connection, args []string) error) *cobra.Command {
	flags := &clientFlags{}
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, GroupID: "client", Args: args, ValidArgsFunction: completeArguments(flags, use),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.open(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), nil)
			if err != nil {
				return err
			}
			defer c.close()
			return do(cmd.Context(), c, args)
		},
	}
	flags.add(cmd)
	return cmd
}

// onConnection makes a command for a service on one connection. Without a callID it
// takes the device's only call in the right state.
func onConnection(name, short string, request func(uacsta.ConnectionID) any, states ...uacsta.LocalConnectionState) *cobra.Command {
	example := fmt.Sprintf("  tr87proxy %s 100\n  tr87proxy %s 100 1423907       if the device has several calls", name, name)
	return clientCommand(name+" DEVICE [CALL]", short, example, between(1, 2), func(ctx context.Context, c *connection, args []string) error {
		call := ""
		if len(args) == 2 {
			call = args[1]
		}
		conn, err := c.find(ctx, args[0], call, states...)
		if err != nil {
			return err
		}
		return c.request(ctx, request(conn))
	})
}

// find returns a device's connection. Without a callID it returns the only connection in
// the first of the states that any connection has. Without states it accepts any state.
func (c *connection) find(ctx context.Context, device, call string, states ...uacsta.LocalConnectionState) (uacsta.ConnectionID, error) {
	if call != "" {
		return uacsta.Conn(call, device), nil
	}
	res, err := c.do(ctx, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)})
	if err != nil {
		return uacsta.ConnectionID{}, err
	}
	calls, err := callsOf(res)
	if err != nil {
		return uacsta.ConnectionID{}, err
	}
	if len(states) == 0 && !c.lent {
		return only(device, "", calls)
	}
	for _, state := range states {
		var fit []uacsta.SnapshotDeviceResponseInfo
		for _, info := range calls {
			own := info.LocalCallState.CompoundCallState
			if len(own) > 0 && (own[0] == state || state == uacsta.Alerting && own[0] == uacsta.Initiated) {
				fit = append(fit, info)
			}
		}
		if len(fit) > 0 {
			return only(device, state, fit)
		}
	}
	if c.lent { // a script may expect the switch to refuse it
		if len(calls) == 0 {
			return uacsta.Conn("", device), nil
		}
		return only(device, "", calls)
	}
	return only(device, states[0], nil)
}

// only returns the connection of the only call.
func only(device string, state uacsta.LocalConnectionState, calls []uacsta.SnapshotDeviceResponseInfo) (uacsta.ConnectionID, error) {
	switch {
	case len(calls) == 1:
		return calls[0].ConnectionIdentifier, nil
	case len(calls) > 1:
		return uacsta.ConnectionID{}, fmt.Errorf("%s has %d such calls: name one (tr87proxy snapshot %s lists them)", device, len(calls), device)
	case state == "":
		return uacsta.ConnectionID{}, fmt.Errorf("%s has no call", device)
	}
	return uacsta.ConnectionID{}, fmt.Errorf("%s has no call in state %s", device, state)
}

func callCommand() *cobra.Command {
	var prompt bool
	cmd := clientCommand("call FROM TO", "Place a call",
		"  tr87proxy call 100 101\n  tr87proxy call --prompt tel:100 tel:+14255550101    rings the calling phone first",
		exactly(2), func(ctx context.Context, c *connection, args []string) error {
			req := uacsta.MakeCall{CallingDevice: uacsta.Dev(args[0]), CalledDirectoryNumber: uacsta.Dev(args[1]), AutoOriginate: uacsta.DoNotPrompt}
			if prompt {
				req.AutoOriginate = uacsta.Prompt
			}
			return c.request(ctx, req)
		})
	cmd.Flags().BoolVar(&prompt, "prompt", false, "ring the calling phone first")
	return cmd
}

func snapshotCommand() *cobra.Command {
	return clientCommand("snapshot DEVICE", "List the calls of a device", "  tr87proxy snapshot 100\n  tr87proxy snapshot --json 100",
		exactly(1), func(ctx context.Context, c *connection, args []string) error {
			return c.present(ctx, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(args[0])}, func(res *uacsta.Message) error {
				calls, err := callsOf(res)
				if len(calls) == 0 && err == nil {
					fmt.Fprintln(c.out, "no calls")
				}
				for _, info := range calls {
					line := fmt.Sprintf("(%s, %s)  %v", info.ConnectionIdentifier.CallID, info.ConnectionIdentifier.DeviceID.ID, info.LocalCallState.CompoundCallState)
					if info.EndpointDevice != nil {
						line += "  with " + info.EndpointDevice.Device.ID
					}
					fmt.Fprintln(c.out, printable(line))
				}
				return err
			})
		})
}

// callsOf returns the calls of a SnapshotDeviceResponse.
func callsOf(res *uacsta.Message) ([]uacsta.SnapshotDeviceResponseInfo, error) {
	var snapshot uacsta.SnapshotDeviceResponse
	if err := res.Decode(&snapshot); err != nil {
		return nil, err
	}
	if data := snapshot.CrossRefIDorSnapshotData.SnapshotData; data != nil {
		return data.SnapshotDeviceResponseInfo, nil
	}
	return nil, nil
}

func featuresCommand() *cobra.Command {
	return clientCommand("features", "List the services and events that the server supports", "  tr87proxy features\n  tr87proxy features --line tel:100",
		exactly(0), func(ctx context.Context, c *connection, _ []string) error {
			return c.present(ctx, uacsta.GetCSTAFeatures{}, func(res *uacsta.Message) error {
				f := res.Features()
				for _, name := range f.Services {
					fmt.Fprintln(c.out, "service ", printable(uacsta.CapabilityName(name)))
				}
				for _, name := range f.Events {
					fmt.Fprintln(c.out, "event   ", printable(uacsta.CapabilityName(name)))
				}
				for _, p := range f.Profiles() {
					fmt.Fprintln(c.out, "profile ", p.NameEdition3)
				}
				return nil
			})
		})
}

func sendCommand() *cobra.Command {
	return clientCommand("send FILE", "Send a CSTA request in XML or JSON from a file and show the response",
		"  tr87proxy send makecall.xml\n  tr87proxy send - < makecall.json",
		exactly(1), func(ctx context.Context, c *connection, args []string) error {
			in := io.Reader(os.Stdin)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return usageError{err}
				}
				defer f.Close()
				in = f
			}
			data, err := io.ReadAll(io.LimitReader(in, uacsta.MaxSize+1))
			if err != nil {
				return err
			}
			parse := uacsta.Parse
			if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
				parse = uacsta.ParseJSON
			}
			req, err := parse(data)
			if err != nil {
				return usageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			return c.present(ctx, req, func(res *uacsta.Message) error {
				fmt.Fprintln(c.out, printable(res.String()))
				return nil
			})
		})
}
