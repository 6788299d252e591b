package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// deviceCommands returns the commands that list and describe devices.
func deviceCommands() []*cobra.Command {
	return []*cobra.Command{devicesCommand(), deviceCommand(), capabilitiesCommand(), systemStatusCommand()}
}

// devices requests the list of devices, which can come in several segments. If each is not nil, it is called with each segment.
func (c *connection) devices(ctx context.Context, category string, each func(segment *uacsta.Message)) ([]uacsta.DeviceListItem, error) {
	ctx, cancel := context.WithTimeout(ctx, c.flags.timeout)
	defer cancel()
	res, err := c.do(ctx, uacsta.GetSwitchingFunctionDevices{RequestedDeviceCategory: uacsta.ReqDeviceCategory(category)})
	if err != nil {
		return nil, err
	}
	ref := res.Text("serviceCrossRefID")
	var list []uacsta.DeviceListItem
	for last := false; !last; {
		err := c.listen(ctx, 1, func(m *uacsta.Message) error {
			var segment uacsta.SwitchingFunctionDevices
			if m.Name() != uacsta.NameSwitchingFunctionDevices || m.Text("serviceCrossRefID") != ref {
				return nil
			}
			if each != nil {
				each(m)
			}
			err := m.Decode(&segment)
			list, last = append(list, segment.DeviceList...), segment.LastSegment
			return err
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

func devicesCommand() *cobra.Command {
	var category string
	cmd := clientCommand("devices", "List the devices of the switch", "  tr87proxy devices\n  tr87proxy devices --category acd", exactly(0), func(ctx context.Context, c *connection, _ []string) error {
		if c.flags.inJSON() {
			_, err := c.devices(ctx, category, c.show)
			return err
		}
		list, err := c.devices(ctx, category, nil)
		if err != nil {
			return err
		}
		for _, d := range list {
			if d.DeviceID == nil {
				continue
			}
			fmt.Fprintln(c.out, printable(fmt.Sprintf("%-12s %-16s %s", d.DeviceID.ID, d.DeviceCategory, d.DeviceModelName)))
		}
		return nil
	})
	cmd.Flags().StringVar(&category, "category", "", "only this category: station, acd, groupHunt, groupPick, networkInterface, park, routeingDevice")
	return cmd
}

func deviceCommand() *cobra.Command {
	return clientCommand("device DEVICE", "Show a device's category, type and limits", "  tr87proxy device 100\n  tr87proxy device --json 100", exactly(1), func(ctx context.Context, c *connection, args []string) error {
		return c.present(ctx, uacsta.GetLogicalDeviceInformation{Device: uacsta.Dev(args[0])}, func(res *uacsta.Message) error {
			var info uacsta.GetLogicalDeviceInformationResponse
			if err := res.Decode(&info); err != nil {
				return err
			}
			line := func(label string, value any) { fmt.Fprintln(c.out, printable(fmt.Sprintf("%-18s %v", label, value))) }
			line("category", info.DeviceCategory)
			line("type", info.NamedDeviceTypes)
			for _, g := range info.AssociatedGroupList {
				line("group", g.ID)
			}
			for _, n := range []struct {
				label string
				value *int
			}{{"held calls", info.MaxHeldCalls}, {"conference parties", info.MaxDevicesInConf}, {"call backs", info.MaxCallbacks}} {
				if n.value != nil {
					line(n.label, *n.value)
				}
			}
			return nil
		})
	})
}

func capabilitiesCommand() *cobra.Command {
	return clientCommand("capabilities", "Show the capabilities of the switch", "  tr87proxy capabilities --json", exactly(0), func(ctx context.Context, c *connection, _ []string) error {
		return c.present(ctx, uacsta.GetSwitchingFunctionCaps{}, func(res *uacsta.Message) error {
			fmt.Fprintln(c.out, printable(res.String()))
			return nil
		})
	})
}

func systemStatusCommand() *cobra.Command {
	var follow bool
	var count int
	cmd := clientCommand("system-status", "Show the status of the switch", "  tr87proxy system-status\n  tr87proxy system-status --follow   also shows every change and heartbeat", exactly(0), func(ctx context.Context, c *connection, _ []string) error {
		res, err := c.do(ctx, uacsta.RequestSystemStatus{})
		if err != nil {
			return err
		}
		c.show(res)
		if !follow {
			return nil
		}
		if _, err := c.do(ctx, uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{SystemStatus: true}}); err != nil {
			return err
		}
		return c.listen(ctx, count, func(m *uacsta.Message) error {
			c.show(m)
			return nil
		})
	})
	cmd.Flags().BoolVar(&follow, "follow", false, "register for the status and show it until interrupted")
	cmd.Flags().IntVar(&count, "count", 0, "with --follow: stop after this many messages; 0: never")
	return cmd
}

// completeArguments completes a command's arguments: the words that its usage lists, and
// otherwise devices of the running server.
func completeArguments(flags *clientFlags, use string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		places := strings.Fields(use)[1:]
		place := "DEVICE"
		if len(args) < len(places) {
			place = places[len(args)]
		} else if len(places) == 0 || !strings.HasSuffix(places[len(places)-1], "...") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		word := strings.Trim(place, "[].")
		switch {
		case word == "FILE":
			return nil, cobra.ShellCompDirectiveDefault
		case word == "WHEN":
			return slices.Sorted(maps.Keys(forwardingTypes)), cobra.ShellCompDirectiveNoFileComp
		case strings.Contains(word, "|"):
			return strings.Split(word, "|"), cobra.ShellCompDirectiveNoFileComp
		case !slices.Contains([]string{"DEVICE", "NUMBER", "NUMBER|off", "BY", "AT", "FROM", "TO", "TARGET", "GROUP"}, word):
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		flags.timeout = min(flags.timeout, 2*time.Second) // the user waits for the completion
		c, err := flags.open(cmd.Context(), io.Discard, io.Discard, nil)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.close()
		list, err := c.devices(cmd.Context(), "", nil)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var words []cobra.Completion
		for _, d := range list {
			if d.DeviceID != nil {
				words = append(words, cobra.CompletionWithDesc(printable(d.DeviceID.ID), printable(string(d.DeviceCategory)+" "+d.DeviceModelName)))
			}
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}
