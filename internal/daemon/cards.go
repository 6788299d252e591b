package daemon

import (
	"time"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/ctserver"
	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// cards makes a link to the ports of cards behind ctserver.
func (n *Node) cards(l config.Link) proxy.Link {
	cfg := ctserver.LinkConfig{
		Address: l.Addresses[0], Manager: l.Manager, Flash: ctserver.Flash(l.Flash), AnswerTime: l.AnswerTime, RingTime: l.RingTime, CallerTime: l.CallerTime,
		Timeout: l.Timeout, Heartbeat: l.Heartbeat, Log: n.linkLog(l.Name),
	}
	for _, p := range l.Ports {
		cfg.Ports = append(cfg.Ports, ctserver.Port(p))
	}
	return ctserver.NewLink(cfg)
}

// Card makes devices look like the ports of a card that ctserver drives; shutdown is what a program
// can ask for. It serves once the switch is up ([Node.Await]).
func (n *Node) Card(devices []string, shutdown func()) *ctserver.Card {
	return ctserver.NewCard(ctserver.CardConfig{
		Proxy: n.core, Identify: n.identify(proxy.SessionsOff), Devices: devices, Gate: gate.Config{Admits: n.admits, Strangers: n.strangers},
		Ring: time.Second, Shutdown: shutdown, Log: n.log,
	})
}
