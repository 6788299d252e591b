package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// featureCommands returns the commands for features of devices.
func featureCommands() []*cobra.Command {
	return []*cobra.Command{forwardCommand(), dndCommand(), mwiCommand(), autoAnswerCommand(), autoWorkCommand(), agentCommand(), callBackCommand(), lastNumberCommand()}
}

var onOff = map[bool]string{true: "on", false: "off"}

func onOrOff(word string) (bool, error) {
	if word != "on" && word != "off" {
		return false, usageError{fmt.Errorf("after the device write on or off")}
	}
	return word == "on", nil
}

// forwardingTypes maps words of the command line to types of forwarding.
var forwardingTypes = map[string]uacsta.ForwardingType{
	"always": uacsta.ForwardImmediate, "always-internal": uacsta.ForwardImmInt, "always-external": uacsta.ForwardImmExt,
	"busy": uacsta.ForwardBusy, "busy-internal": uacsta.ForwardBusyInt, "busy-external": uacsta.ForwardBusyExt,
	"no-answer": uacsta.ForwardNoAns, "no-answer-internal": uacsta.ForwardNoAnsInt, "no-answer-external": uacsta.ForwardNoAnsExt,
	"dnd": uacsta.ForwardDND, "dnd-internal": uacsta.ForwardDNDInt, "dnd-external": uacsta.ForwardDNDExt,
}

func forwardCommand() *cobra.Command {
	var rings int
	cmd := clientCommand("forward DEVICE [WHEN NUMBER|off]", "Show or change a device's call forwarding",
		"  tr87proxy forward 100\n  tr87proxy forward 100 always 102\n  tr87proxy forward 100 no-answer 102 --rings 4\n  tr87proxy forward 100 busy-external 103      only calls from outside\n  tr87proxy forward 100 always off",
		between(1, 3), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 1 {
				return c.showForwarding(ctx, args[0])
			}
			kind, ok := forwardingTypes[args[1]]
			if !ok || len(args) != 3 {
				return usageError{fmt.Errorf("after the device write always, busy, no-answer or dnd, optionally with -internal or -external, then a number or off")}
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
	cmd.Flags().IntVar(&rings, "rings", 0, "number of rings before no-answer forwards a call")
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
	return clientCommand("dnd DEVICE [on|off]", "Show or change do not disturb at a device", "  tr87proxy dnd 100\n  tr87proxy dnd 100 on",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 2 {
				on, err := onOrOff(args[1])
				if err != nil {
					return err
				}
				return c.request(ctx, uacsta.SetDoNotDisturb{Device: uacsta.Dev(args[0]), DoNotDisturbOn: on})
			}
			return c.present(ctx, uacsta.GetDoNotDisturb{Device: uacsta.Dev(args[0])}, func(res *uacsta.Message) error {
				var setting uacsta.GetDoNotDisturbResponse
				if err := res.Decode(&setting); err != nil {
					return err
				}
				fmt.Fprintln(c.out, onOff[setting.DoNotDisturbOn])
				return nil
			})
		})
}

func mwiCommand() *cobra.Command {
	var from string
	cmd := clientCommand("mwi DEVICE [on|off]", "Show or change message waiting at a device", "  tr87proxy mwi 100\n  tr87proxy mwi 100 on --message-from 300",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 2 {
				on, err := onOrOff(args[1])
				if err != nil {
					return err
				}
				req := uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev(args[0]), MessageWaitingOn: on}
				if from != "" {
					device := uacsta.Dev(from)
					req.DeviceForMessage = &device
				}
				return c.request(ctx, req)
			}
			return c.present(ctx, uacsta.GetMessageWaitingIndicator{Device: uacsta.Dev(args[0])}, func(res *uacsta.Message) error {
				var setting uacsta.GetMessageWaitingIndicatorResponse
				if err := res.Decode(&setting); err != nil {
					return err
				}
				line := onOff[setting.MessageWaitingOn]
				if setting.DeviceForMessage != nil {
					line += "  from " + setting.DeviceForMessage.ID
				}
				fmt.Fprintln(c.out, printable(line))
				return nil
			})
		})
	cmd.Flags().StringVar(&from, "message-from", "", "device that has the message")
	return cmd
}

func autoAnswerCommand() *cobra.Command {
	var rings int
	cmd := clientCommand("auto-answer DEVICE [on|off]", "Show or change whether a device answers automatically", "  tr87proxy auto-answer 100\n  tr87proxy auto-answer 100 on --rings 2",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 2 {
				on, err := onOrOff(args[1])
				if err != nil {
					return err
				}
				return c.request(ctx, uacsta.SetAutoAnswer{Device: uacsta.Dev(args[0]), AutoAnswerOn: on, NumberOfRings: &rings})
			}
			return c.present(ctx, uacsta.GetAutoAnswer{Device: uacsta.Dev(args[0])}, func(res *uacsta.Message) error {
				var setting uacsta.GetAutoAnswerResponse
				if err := res.Decode(&setting); err != nil {
					return err
				}
				line := onOff[setting.AutoAnswerOn]
				if setting.AutoAnswerOn && setting.NumberOfRings != nil {
					line += fmt.Sprintf("  after %d rings", *setting.NumberOfRings)
				}
				fmt.Fprintln(c.out, line)
				return nil
			})
		})
	cmd.Flags().IntVar(&rings, "rings", 0, "number of rings before it answers")
	return cmd
}

func autoWorkCommand() *cobra.Command {
	var interval time.Duration
	cmd := clientCommand("auto-work DEVICE [on|off]", "Show or change whether agents at a device enter after-call work",
		"  tr87proxy auto-work 100\n  tr87proxy auto-work 100 on --interval 30s\n  tr87proxy auto-work 100 on                   until the agent becomes ready",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			device := uacsta.Dev(args[0])
			if len(args) == 2 {
				on, err := onOrOff(args[1])
				if err != nil {
					return err
				}
				seconds := int(interval / time.Second)
				return c.request(ctx, uacsta.SetAutoWorkMode{Device: &device, AutoWorkOn: on, AutoWorkInterval: &seconds})
			}
			return c.present(ctx, uacsta.GetAutoWorkMode{Device: &device}, func(res *uacsta.Message) error {
				var setting uacsta.GetAutoWorkModeResponse
				if err := res.Decode(&setting); err != nil {
					return err
				}
				line := onOff[setting.AutoWorkOn]
				if setting.AutoWorkInterval != nil && *setting.AutoWorkInterval > 0 {
					line += fmt.Sprintf("  for %d s", *setting.AutoWorkInterval)
				}
				fmt.Fprintln(c.out, line)
				return nil
			})
		})
	cmd.Flags().DurationVar(&interval, "interval", 0, "duration of the work; 0: until the agent becomes ready")
	return cmd
}

// agentStates maps words of the command line to agent states.
var agentStates = map[string]uacsta.ReqAgentState{
	"login": uacsta.RequestLoggedOn, "logout": uacsta.RequestLoggedOff, "ready": uacsta.RequestReady, "not-ready": uacsta.RequestNotReady,
	"after-call": uacsta.RequestWorkingAfterCall,
}

func agentCommand() *cobra.Command {
	var id, group, passwordFile string
	cmd := clientCommand("agent DEVICE [login|logout|ready|not-ready|after-call]", "Show or change the state of the agents at a device",
		"  tr87proxy agent 101\n  tr87proxy agent 101 login --id 7001 --group 300 --agent-password-file pin\n  tr87proxy agent 101 ready",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			if len(args) == 1 {
				return c.showAgents(ctx, args[0])
			}
			state, ok := agentStates[args[1]]
			if !ok {
				return usageError{fmt.Errorf("after the device write login, logout, ready, not-ready or after-call")}
			}
			req := uacsta.SetAgentState{Device: uacsta.Dev(args[0]), RequestedAgentState: state, AgentID: id}
			if group != "" {
				device := uacsta.Dev(group)
				req.Group = &device
			}
			if passwordFile != "" {
				data, err := os.ReadFile(passwordFile)
				if err != nil {
					return usageError{err}
				}
				req.Password = hex.EncodeToString([]byte(strings.TrimSpace(string(data))))
			}
			return c.request(ctx, req)
		})
	cmd.Flags().StringVar(&id, "id", "", "the agent's identifier")
	cmd.Flags().StringVar(&group, "group", "", "queue (default: that of the agent)")
	cmd.Flags().StringVar(&passwordFile, "agent-password-file", "", "file with the agent's password")
	return cmd
}

func (c *connection) showAgents(ctx context.Context, device string) error {
	return c.present(ctx, uacsta.GetAgentState{Device: uacsta.Dev(device)}, func(res *uacsta.Message) error {
		var agents uacsta.GetAgentStateResponse
		if err := res.Decode(&agents); err != nil {
			return err
		}
		for _, a := range agents.AgentStateList {
			if !a.LoggedOnState {
				fmt.Fprintln(c.out, "nobody is logged on")
			}
			for _, info := range a.AgentInfo {
				line := fmt.Sprintf("%-12s %s", a.AgentID, info.AgentState)
				if info.AcdGroup != nil {
					line += "  in " + info.AcdGroup.ID
				}
				if info.PendingAgentState != "" {
					line += "  then " + string(info.PendingAgentState)
				}
				fmt.Fprintln(c.out, printable(line))
			}
		}
		return nil
	})
}

func callBackCommand() *cobra.Command {
	var list, cancel bool
	cmd := clientCommand("callback DEVICE [TARGET]", "Ring a device when another one is free again",
		"  tr87proxy callback 100             for the device's failed call\n  tr87proxy callback 100 101\n  tr87proxy callback 100 --list\n  tr87proxy callback 100 101 --cancel",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			origin := uacsta.Dev(args[0])
			var target *uacsta.DeviceID
			if len(args) == 2 {
				device := uacsta.Dev(args[1])
				target = &device
			}
			switch {
			case list:
				return c.showCallBacks(ctx, origin)
			case cancel:
				return c.request(ctx, uacsta.CancelCallBack{OriginatingDevice: &origin, TargetDevice: target})
			case target != nil:
				return c.request(ctx, uacsta.CallBackNonCallRelated{OriginatingDevice: &origin, TargetDevice: target})
			}
			conn, err := c.find(ctx, args[0], "", uacsta.Connected)
			if err != nil {
				return err
			}
			return c.request(ctx, uacsta.CallBack{CallbackConnection: conn})
		})
	cmd.Flags().BoolVar(&list, "list", false, "list the call backs")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "cancel the call back to TARGET, or all")
	return cmd
}

func (c *connection) showCallBacks(ctx context.Context, device uacsta.DeviceID) error {
	return c.present(ctx, uacsta.GetCallBack{Device: &device}, func(res *uacsta.Message) error {
		var booked uacsta.GetCallBackResponse
		if err := res.Decode(&booked); err != nil {
			return err
		}
		if len(booked.CallBackList) == 0 {
			fmt.Fprintln(c.out, "no call backs")
		}
		for _, b := range booked.CallBackList {
			if b.TargetDevice != nil {
				fmt.Fprintln(c.out, printable(b.TargetDevice.ID))
			}
		}
		return nil
	})
}

func lastNumberCommand() *cobra.Command {
	return clientCommand("last-number DEVICE", "Show the last number that a device dialled", "  tr87proxy last-number 100", exactly(1), func(ctx context.Context, c *connection, args []string) error {
		device := uacsta.Dev(args[0])
		return c.present(ctx, uacsta.GetLastNumberDialed{Device: &device}, func(res *uacsta.Message) error {
			fmt.Fprintln(c.out, printable(res.Text("numberDialed")))
			return nil
		})
	})
}
