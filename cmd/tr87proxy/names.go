package main

import (
	"context"
	"errors"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// names are the names of devices, as far as the switch has told them: in GetLogicalDeviceInformation, and with the caller of an
// event.
type deviceNames map[string]string

const (
	mostNames   = 10000
	longestName = 20 // characters that are shown
	namePause   = 2 * time.Second
)

// of returns a device with its name, if that is known.
func (n deviceNames) of(device string) string {
	if name := n[device]; name != "" {
		return device + ` "` + cut(printable(name), longestName) + `"`
	}
	return device
}

// learn takes over the name of the caller from an event.
func (n deviceNames) learn(m *uacsta.Message) {
	n.set(m.Text("callingDevice/deviceIdentifier"), m.PrivateText("callingDeviceName"))
}

func (n deviceNames) set(device, name string) {
	if device != "" && name != "" && (len(n) < mostNames || n[device] != "") {
		n[device] = name
	}
}

// ask asks the switch for the names of devices. A switch that refuses to tell about one is asked about the others; one that does
// not respond is not.
func (n deviceNames) ask(ctx context.Context, c *connection, devices ...string) {
	for _, device := range devices {
		within, cancel := context.WithTimeout(ctx, namePause)
		res, err := c.do(within, uacsta.GetLogicalDeviceInformation{Device: uacsta.Dev(device)})
		cancel()
		var refusal *uacsta.Error
		switch {
		case err == nil && res != nil:
			n.set(device, res.PrivateText("deviceName"))
		case !errors.As(err, &refusal):
			return
		}
	}
}
