package kind

import (
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// TraceSIP returns what keeps the octets of a user agent, for sip.Config.Trace; nil if there is no tap.
func TraceSIP(tap *trace.Tap) func(sip.Traced) {
	if tap == nil {
		return nil
	}
	return func(m sip.Traced) {
		transport, _, _ := strings.Cut(strings.ToLower(m.Peer.Transport), "-") // DTLS-UDP is dtls
		flow := trace.Flow{Protocol: "sip", Transport: transport, Local: m.Peer.Local, Remote: m.Peer.Addr}
		data, readable := m.Data, m.Readable || !m.Stranger
		if readable {
			data = sip.Conceal(data, uacsta.Conceal)
		}
		tap.Datagram(flow, m.Out, m.Stranger, data, readable)
	}
}
