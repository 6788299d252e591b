package softswitch

import (
	"fmt"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// BenchmarkCall is a call between two of so many extensions, one of them monitored:
// what it costs must not depend on how many there are.
func BenchmarkCall(b *testing.B) {
	for _, extensions := range []int{100, 10000} {
		b.Run(fmt.Sprint(extensions), func(b *testing.B) {
			cfg := Config{ParkDevices: []ParkDevice{{Number: "9"}}}
			for n := range extensions {
				cfg.Extensions = append(cfg.Extensions, Extension{Number: fmt.Sprint(100000 + n)})
			}
			s, err := New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			s.core.up = &checker{}
			m := &monitor{sw: s, ref: "1", device: s.devices["100001"]}
			m.device.monitors = []*monitor{m}
			for b.Loop() {
				s.core.up.(*checker).events = nil
				var conn uacsta.ConnectionID
				for _, req := range []func() any{
					func() any {
						return uacsta.MakeCall{CallingDevice: uacsta.Dev("100000"), CalledDirectoryNumber: uacsta.Dev("100001"), AutoOriginate: uacsta.DoNotPrompt}
					},
					func() any { return uacsta.AnswerCall{CallToBeAnswered: conn} },
					func() any { return uacsta.ClearConnection{ConnectionToBeCleared: conn} },
				} {
					s.Request(uacsta.Encode(req(), uacsta.Edition3), func(m *uacsta.Message, err error) {
						if err != nil {
							b.Fatal(err)
						}
						if id := m.Text("callingDevice/callID"); id != "" {
							conn = uacsta.Conn(id, "100001")
						}
					})
				}
			}
		})
	}
}
