package daemon

import (
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	cardfront "github.com/tr87proxy/tr87proxy/wire/ctserver/front"
)

// Card returns a ctserver card whose ports are devices. A client's command shutdown calls shutdown. Serve the card after
// the switch is up ([Node.Await]).
func (n *Node) Card(devices []string, shutdown func()) *cardfront.Card {
	return cardfront.New(cardfront.Config{Devices: devices, Ring: time.Second, Shutdown: shutdown, Access: kind.Access{
		Proxy: n.core, Identify: n.core.Peers("", proxy.SessionsOff), Gate: gate.Config{Admits: n.admits, Strangers: n.strangers}, Log: n.log,
	}})
}
