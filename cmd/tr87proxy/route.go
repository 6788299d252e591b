package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// routeCommand makes the command route, a minimal routeing client.
func routeCommand() *cobra.Command {
	var to []string
	var reject string
	var count int
	cmd := clientCommand("route DEVICE", "Route the calls to a routeing device until interrupted",
		"  tr87proxy route 600 --to 101\n  tr87proxy route 600 --to 101,102         102 if the switch refuses 101\n  tr87proxy route 600 --reject busyOverflow",
		exactly(1), func(ctx context.Context, c *connection, args []string) error {
			if (len(to) == 0) == (reject == "") {
				return usageError{fmt.Errorf("use either --to or --reject")}
			}
			device := uacsta.Dev(args[0])
			res, err := c.do(ctx, uacsta.RouteRegister{RouteingDevice: &device})
			if err != nil {
				return err
			}
			note(c.errOut, c.flags.inJSON(), "routeing %s as %s", args[0], res.Text("routeRegisterReqID"))
			return c.listen(ctx, count, func(m *uacsta.Message) error {
				c.show(m)
				if m.Name() != uacsta.NameRouteRequest && m.Name() != uacsta.NameReRoute {
					if m.Name() == uacsta.NameRouteRegisterAbort {
						return fmt.Errorf("the switch has cancelled the registration")
					}
					return nil
				}
				dialogue, registration := m.Text("crossRefIdentifier"), m.Text("routeRegisterReqID")
				switch {
				case m.Name() == uacsta.NameReRoute:
					return c.request(ctx, uacsta.RouteEnd{CrossRefIdentifier: dialogue, RouteRegisterReqID: registration})
				case reject != "":
					return c.request(ctx, uacsta.RouteReject{CrossRefIdentifier: dialogue, RouteRegisterReqID: registration, RejectCause: uacsta.RejectCause(reject)})
				}
				yes := true
				answer := uacsta.RouteSelect{CrossRefIdentifier: dialogue, RouteRegisterReqID: registration, RouteSelected: uacsta.Dev(to[0]), RouteUsedReq: &yes}
				for _, other := range to[1:] {
					answer.AlternateRoutes = append(answer.AlternateRoutes, uacsta.Dev(other))
				}
				return c.request(ctx, answer)
			})
		})
	cmd.Flags().StringSliceVar(&to, "to", nil, "where the calls go: the first number that the switch accepts")
	cmd.Flags().StringVar(&reject, "reject", "", "reject the calls with this cause: "+strings.Join([]string{"busyOverflow", "queueTimeOverflow", "capacityOverflow", "calendarOverflow"}, ", "))
	cmd.Flags().IntVar(&count, "count", 0, "stop after this many messages; 0: never")
	return cmd
}
