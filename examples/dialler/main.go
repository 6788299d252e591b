// Dialler calls the numbers that it reads, one a line, and prints what comes of each. Whoever answers gets an agent of
// the queue for which it calls.
//
//	dialler -server 127.0.0.1:8882 -queue 300 -lines 20 < numbers
//
// It needs a listener of `xml`, and a grant for the queue and the numbers.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/examples/csta"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func main() {
	server := flag.String("server", "127.0.0.1:8882", "host:port of a listener of xml")
	queue := flag.String("queue", "300", "number of the queue that calls")
	lines := flag.Int("lines", 20, "number of calls at a time that nobody has answered")
	ring := flag.Int("ring", 30, "seconds in which a call must be answered")
	flag.Parse()
	if err := run(*server, *queue, *lines, *ring, os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// dialler is the state of the program.
type dialler struct {
	client *csta.Client
	out    io.Writer
	queue  string
	ring   int
	calls  map[string]string // numbers by the callIDs of their calls, until the outcome is known
	tally  map[string]int    // numbers of outcomes
}

func run(server, queue string, lines, ring int, numbers io.Reader, out io.Writer) error {
	client, err := csta.Dial(context.Background(), server)
	if err != nil {
		return err
	}
	defer client.Close()
	d := &dialler{client: client, out: out, queue: queue, ring: ring, calls: map[string]string{}, tally: map[string]int{}}
	if err := client.Monitor(queue); err != nil {
		return err
	}
	input := bufio.NewScanner(numbers)
	more := input.Scan()
	for more || len(d.calls) > 0 {
		if more && len(d.calls) < lines {
			if err := d.dial(strings.TrimSpace(input.Text())); err != nil {
				return err
			}
			more = input.Scan()
			continue
		}
		event, err := client.Next()
		if err != nil {
			return err
		}
		if err := d.follow(event); err != nil {
			return err
		}
	}
	for _, outcome := range slices.Sorted(maps.Keys(d.tally)) {
		fmt.Fprintln(out, d.tally[outcome], outcome)
	}
	return input.Err()
}

// dial has the switch call a number. The events of the call come after the response, on the monitor of the queue.
func (d *dialler) dial(number string) error {
	response, err := d.client.Ask(uacsta.MakePredictiveCall{
		CallingDevice: uacsta.Dev(d.queue), CalledDirectoryNumber: uacsta.Dev(number), AlertTime: &d.ring,
		SignallingDetection: &uacsta.SignallingDetection{
			SignallingCondition: uacsta.SignallingCallEstablished, SignallingConditionsAction: uacsta.SignallingConditionsActionRemainConnected,
		},
	})
	if refusal := (*uacsta.Error)(nil); errors.As(err, &refusal) {
		d.report(number, refusal.Value, "")
		return nil
	}
	if err != nil {
		return err
	}
	d.calls[response.Text("initiatedCall/callID")] = number
	return nil
}

// follow reads in an event what has come of a call: the first event that says so decides.
func (d *dialler) follow(event *uacsta.Message) error {
	switch event.Name() {
	case uacsta.NameEstablishedEvent:
		call := event.Text("establishedConnection/callID")
		if number := d.calls[call]; number != "" && event.Text("establishedConnection/deviceID") != d.queue {
			delete(d.calls, call) // the queue and its agents have it now
			d.report(number, "answered", " by "+event.Text("answeringDevice/deviceIdentifier"))
		}
	case uacsta.NameFailedEvent:
		call := event.Text("failedConnection/callID")
		if number := d.calls[call]; number != "" {
			delete(d.calls, call)
			d.report(number, event.Text("cause"), "")
			return d.clear(call)
		}
	case uacsta.NameConnectionClearedEvent: // nobody has answered in time, or the network has given up
		call := event.Text("droppedConnection/callID")
		if number := d.calls[call]; number != "" {
			delete(d.calls, call)
			d.report(number, event.Text("cause"), "")
		}
	}
	return nil
}

// clear ends a call that has failed. Else the switch ends it after a while.
func (d *dialler) clear(call string) error {
	_, err := d.client.Ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(call, d.queue)})
	if refusal := (*uacsta.Error)(nil); errors.As(err, &refusal) { // it has ended already
		return nil
	}
	return err
}

func (d *dialler) report(number, outcome, detail string) {
	d.tally[outcome]++
	fmt.Fprintf(d.out, "%s %s%s\n", number, outcome, detail)
}
