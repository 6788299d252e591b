package daemon

import (
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	cardfront "github.com/tr87proxy/tr87proxy/wire/ctserver/front"
)

// Card returns a ctserver card whose ports are devices. Programs play and record files in sounds. Serve the card after the
// switch is up ([Node.Await]).
func (n *Node) Card(devices []string, sounds *audio.Directory) *cardfront.Card {
	version, _, _ := strings.Cut(n.version, " ")
	return cardfront.New(cardfront.Config{Devices: devices, Ring: time.Second, Sounds: sounds, Version: "tr87proxy-" + version, Access: kind.Access{
		Proxy: n.core, Identify: n.core.Peers("", proxy.SessionsOff), Gate: gate.Config{Admits: n.admits, Strangers: n.strangers}, Log: n.log,
	}})
}
