// Ivr answers the calls that wait at a queue, plays a menu, and does what the caller's keys say: 1 transfers the caller
// to an extension; 2 records what the caller says, until a key, and plays it back; 0 sends the caller to another queue.
//
//	ivr -server 127.0.0.1:8882 -queue 300 -menu welcome -extension 101 -operators 301
//
// It needs a listener of `xml`, a grant for the queue, and messages in `telephones.messages`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/tr87proxy/tr87proxy/examples/csta"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func main() {
	v := ivr{out: os.Stdout, calls: map[string]*caller{}}
	server := flag.String("server", "127.0.0.1:8882", "host:port of a listener of xml")
	flag.StringVar(&v.queue, "queue", "300", "number of the queue")
	flag.StringVar(&v.menu, "menu", "welcome", "message that tells the choices")
	flag.StringVar(&v.extension, "extension", "101", "where 1 leads")
	flag.StringVar(&v.operators, "operators", "301", "the queue where 0 leads")
	flag.Parse()
	if err := v.run(*server); err != nil {
		log.Fatal(err)
	}
}

// ivr is the state of the program.
type ivr struct {
	client                            *csta.Client
	out                               io.Writer
	queue, menu, extension, operators string
	calls                             map[string]*caller // by callID
}

// caller is a caller at the queue.
type caller struct {
	at        uacsta.ConnectionID // the queue's connection
	recording string              // name of the message that the caller has left
	listens   bool                // to that message
}

func (v *ivr) run(server string) (err error) {
	if v.client, err = csta.Dial(context.Background(), server); err != nil {
		return err
	}
	defer v.client.Close()
	if err := v.client.Monitor(v.queue); err != nil {
		return err
	}
	fmt.Fprintln(v.out, "ready")
	for {
		event, err := v.client.Next()
		if err != nil {
			return err
		}
		err = v.follow(event)
		if refusal := (*uacsta.Error)(nil); errors.As(err, &refusal) { // the caller may have hung up meanwhile
			fmt.Fprintf(v.out, "%s: %v\n", event.Name(), refusal)
		} else if err != nil {
			return err
		}
	}
}

// follow acts on an event at the queue.
func (v *ivr) follow(event *uacsta.Message) error {
	switch event.Name() {
	case uacsta.NameQueuedEvent:
		call := event.Text("queuedConnection/callID")
		v.calls[call] = &caller{at: uacsta.Conn(call, v.queue)}
		fmt.Fprintf(v.out, "%s calls\n", event.Text("callingDevice/deviceIdentifier"))
		return v.ask(uacsta.AnswerCall{CallToBeAnswered: v.calls[call].at})
	case uacsta.NameEstablishedEvent:
		if c := v.calls[event.Text("establishedConnection/callID")]; c != nil && event.Text("establishedConnection/deviceID") == v.queue {
			return v.offer(c)
		}
	case uacsta.NameDtmfDetectedEvent:
		if c := v.calls[event.Text("overConnection/callID")]; c != nil {
			return v.key(c, event.Text("dtmfChar"))
		}
	case uacsta.NameStopEvent:
		if c := v.calls[event.Text("connection/callID")]; c != nil {
			return v.stopped(c, event.Text("message"))
		}
	case uacsta.NameDivertedEvent:
		v.gone(event.Text("connection/callID"), event)
	case uacsta.NameTransferedEvent:
		v.gone(event.Text("primaryOldCall/callID"), event)
	case uacsta.NameConnectionClearedEvent:
		v.gone(event.Text("droppedConnection/callID"), event)
	}
	return nil
}

// untilKey ends a message at the first key.
var untilKey = &uacsta.TerminatingConditions{DTMFDigitDetected: true}

// offer plays the menu.
func (v *ivr) offer(c *caller) error {
	return v.ask(uacsta.PlayMessage{MessageToBePlayed: v.menu, OverConnection: c.at, Termination: untilKey})
}

// key does what a key says. While the caller leaves a message, a key ends it.
func (v *ivr) key(c *caller, key string) error {
	if c.recording != "" {
		return nil
	}
	fmt.Fprintf(v.out, "key %s\n", key)
	switch key {
	case "1":
		return v.ask(uacsta.SingleStepTransferCall{ActiveCall: c.at, TransferredTo: uacsta.Dev(v.extension)})
	case "0":
		return v.ask(uacsta.DeflectCall{CallToBeDiverted: c.at, NewDestination: []uacsta.DeviceID{uacsta.Dev(v.operators)}})
	case "2":
		most := 60000 // milliseconds
		response, err := v.client.Ask(uacsta.RecordMessage{CallToBeRecorded: c.at, MaxDuration: &most, Termination: untilKey})
		if err == nil {
			c.recording = response.Text("resultingMessage")
			fmt.Fprintf(v.out, "records %s\n", c.recording)
		}
		return err
	}
	return v.offer(c)
}

// stopped goes on after a message: what the caller has left is played back, and then the call ends.
func (v *ivr) stopped(c *caller, message string) error {
	if message != c.recording { // the menu
		return nil
	}
	if !c.listens {
		c.listens = true
		if v.ask(uacsta.PlayMessage{MessageToBePlayed: c.recording, OverConnection: c.at}) == nil {
			return nil
		}
	}
	return v.ask(uacsta.ClearConnection{ConnectionToBeCleared: c.at})
}

// gone forgets a call that has left the queue.
func (v *ivr) gone(call string, event *uacsta.Message) {
	if v.calls[call] != nil {
		delete(v.calls, call)
		fmt.Fprintf(v.out, "%s %s\n", event.Name(), event.Text("cause"))
	}
}

func (v *ivr) ask(request any) error {
	_, err := v.client.Ask(request)
	return err
}
