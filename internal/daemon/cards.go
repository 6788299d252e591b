package daemon

import (
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// Card makes devices look like the ports of a card that ctserver drives; shutdown is what a program
// can ask for. It serves once the switch is up ([Node.Await]).
func (n *Node) Card(devices []string, shutdown func()) *ctserver.Card {
	return ctserver.NewCard(ctserver.CardConfig{
		Proxy: n.core, Identify: n.core.Peers("", proxy.SessionsOff), Devices: devices, Gate: gate.Config{Admits: n.admits, Strangers: n.strangers},
		Ring: time.Second, Shutdown: shutdown, Log: n.log,
	})
}
