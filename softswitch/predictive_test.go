package softswitch

import (
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The cause for which the network refuses a predictive call reaches the queue that made it.
func TestPredictiveCallRefusedByNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, Config{Queues: []Queue{{Number: "300"}}, Trunks: []Trunk{{Number: "900", Prefixes: []string{"0"}, Real: true}}}, "300")
		w.sw.InService("900", true, false)
		w.must(uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("300"), CalledDirectoryNumber: uacsta.Dev("0123")})
		w.declines("900", uacsta.CauseNetworkCongestion)
		w.expect("refused",
			"answer",
			"300: ServiceInitiated X300 initiated makePredictiveCall",
			"300: Failed X900 initiated networkCongestion")
		w.finish()
	})
}
