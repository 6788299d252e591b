package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// voiceCommands returns the commands that play and record messages.
func voiceCommands() []*cobra.Command {
	return []*cobra.Command{playCommand(), recordCommand(), stopCommand()}
}

// audible are the states of connections over which a message can be heard or recorded, the likeliest first.
var audible = []uacsta.LocalConnectionState{uacsta.Connected, uacsta.Queued}

func playCommand() *cobra.Command {
	var end messageEnd
	cmd := clientCommand("play DEVICE MESSAGE", "Play a message in a device's call, or to a caller who waits in a queue",
		"  tr87proxy play 300 welcome                  welcome.wav of telephones.messages\n  tr87proxy play 300 welcome --until-digit --limit 20s",
		exactly(2), func(ctx context.Context, c *connection, args []string) error {
			conn, err := c.find(ctx, args[0], "", audible...)
			if err != nil {
				return err
			}
			limit, digit := end.conditions()
			return c.request(ctx, uacsta.PlayMessage{MessageToBePlayed: args[1], OverConnection: conn, Duration: limit, Termination: digit})
		})
	end.add(cmd)
	return cmd
}

func recordCommand() *cobra.Command {
	var end messageEnd
	cmd := clientCommand("record DEVICE [MESSAGE]", "Record a device's call, or a caller who waits in a queue, and show the recording's name",
		"  tr87proxy record 300                        the switch names the recording\n  tr87proxy record 300 order-17 --until-digit --limit 60s",
		between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			conn, err := c.find(ctx, args[0], "", audible...)
			if err != nil {
				return err
			}
			limit, digit := end.conditions()
			req := uacsta.RecordMessage{CallToBeRecorded: conn, MaxDuration: limit, Termination: digit}
			if len(args) == 2 {
				req.Resource = args[1]
			}
			return c.request(ctx, req)
		})
	end.add(cmd)
	return cmd
}

func stopCommand() *cobra.Command {
	return clientCommand("stop DEVICE [MESSAGE]", "Stop the messages that are played and recorded in a device's call",
		"  tr87proxy stop 300\n  tr87proxy stop 300 order-17                 only this one", between(1, 2), func(ctx context.Context, c *connection, args []string) error {
			conn, err := c.find(ctx, args[0], "", audible...)
			if err != nil {
				return err
			}
			req := uacsta.Stop{Connection: conn}
			if len(args) == 2 {
				req.MessageToBeStopped = args[1]
			}
			return c.request(ctx, req)
		})
}

// messageEnd is what ends a message beside its own end and the command stop.
type messageEnd struct {
	limit time.Duration
	digit bool
}

func (e *messageEnd) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&e.limit, "limit", 0, "stop after this time; 0: the switch decides")
	cmd.Flags().BoolVar(&e.digit, "until-digit", false, "stop when the other party presses a key")
}

// conditions returns the limit in milliseconds and the condition, nil for none.
func (e *messageEnd) conditions() (limit *int, digit *uacsta.TerminatingConditions) {
	if ms := int(e.limit / time.Millisecond); ms > 0 {
		limit = &ms
	}
	if e.digit {
		digit = &uacsta.TerminatingConditions{DTMFDigitDetected: true}
	}
	return limit, digit
}
