// Command screenpop prints who calls a telephone, as soon as it rings.
//
//	go run ./examples/api/screenpop 101
//
// TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
// The file screenpop-101.position has the last event that was handled: after a restart, calls that came meanwhile are
// printed, too.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// event has the members of events that are needed here.
type event struct {
	ID, Type, State, Caller, Reason string

	Calls []struct{ State, Caller string } // of a snapshot
}

// silence is how long nothing may come. The proxy sends a heartbeat every 30 seconds.
const silence = 75 * time.Second

// errRefused is the error of a request that will be refused again.
var errRefused = errors.New("refused")

// stream calls handle with each event after one, until the stream ends.
func stream(device, after string, handle func(event) error) error {
	query := url.Values{"devices": {device}, "types": {"delivered,snapshot"}, "snapshot": {"true"}}
	if after != "" {
		query.Set("after", after)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	timer := time.AfterFunc(silence, cancel)
	defer timer.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, cmp.Or(os.Getenv("TR87_URL"), "http://127.0.0.1:8880")+"/v1/events?"+query.Encode(), nil) //nolint:gosec // the user names the proxy
	if err != nil {
		return err
	}
	if token := os.Getenv("TR87_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request) //nolint:gosec // the user names the proxy
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		problem, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		if response.StatusCode < http.StatusInternalServerError && response.StatusCode != http.StatusTooManyRequests {
			return fmt.Errorf("%w: %s", errRefused, problem)
		}
		return fmt.Errorf("%s", problem)
	}
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		timer.Reset(silence)
		data, is := strings.CutPrefix(line, "data: ")
		if !is {
			continue
		}
		var e event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return err
		}
		if err := handle(e); err != nil {
			return err
		}
	}
}

func show(e event, device string) {
	switch e.Type {
	case "delivered":
		if e.State == "alerting" {
			fmt.Println(cmp.Or(e.Caller, "somebody"), "calls", device)
		}
	case "snapshot": // the calls that there are, at the beginning and after a gap
		for _, call := range e.Calls {
			if call.State == "alerting" {
				fmt.Println(cmp.Or(call.Caller, "somebody"), "calls", device)
			}
		}
	case "gap":
		log.Print("events are missing: ", e.Reason)
	}
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: screenpop DEVICE")
	}
	device := os.Args[1]
	file := "screenpop-" + device + ".position"
	position, err := os.ReadFile(file) //nolint:gosec // the user names the device
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Fatal(err)
	}
	after := strings.TrimSpace(string(position))
	for {
		err := stream(device, after, func(e event) error {
			show(e, device)
			if e.ID == after {
				return nil
			}
			after = e.ID                                                            // only now: an event that was not handled comes again
			if err := os.WriteFile(file+".new", []byte(after), 0o600); err != nil { //nolint:gosec // the user names the device
				return err
			}
			return os.Rename(file+".new", file) //nolint:gosec // the user names the device
		})
		if errors.Is(err, errRefused) {
			log.Fatal(err)
		}
		log.Print("no events: ", err)
		time.Sleep(2 * time.Second)
	}
}
