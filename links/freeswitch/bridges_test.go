package freeswitch

import (
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A request for a call waits until FreeSWITCH has connected the channels of the call, or has not in time. One of them may end.
func TestRequestsWait(t *testing.T) {
	for name, tt := range map[string]struct {
		then    func(tr *trial)
		granted bool
	}{
		"connected": {func(tr *trial) { tr.tell("CHANNEL_BRIDGE id=A a=A b=B") }, true},
		"too late": {func(tr *trial) {
			tr.link.inbox.Post(func() { tr.link.expire(time.Now().Add(time.Hour)) })
		}, false},
		"ended": {func(tr *trial) { tr.tell("CHANNEL_HANGUP id=B why=NORMAL_CLEARING") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, LinkConfig{Timeout: time.Minute}, "1001")
			tr.slow = true
			tr.tell(talking)
			held := uacsta.Conn("A", "1001")
			consult := uacsta.ConsultationCall{ExistingCall: held, ConsultedDevice: uacsta.Dev("1003")}
			tr.must(uacsta.ReconnectCall{HeldCall: held, ActiveCall: uacsta.Conn(tr.must(consult).Text("initiatedCall/callID"), "1001")})
			tr.tell("CHANNEL_BRIDGE id=A a=A b=C") // of an earlier command
			done := make(chan error, 1)
			go func() {
				_, err := tr.ask(consult)
				done <- err
			}()
			for waits := 0; waits == 0; {
				tr.link.inbox.Post(func() { waits = len(tr.link.requests) })
				tr.tell("")
				select {
				case err := <-done:
					t.Fatalf("the request did not wait: %v", err)
				default:
				}
			}
			tr.must(uacsta.SnapshotCall{SnapshotObject: held})
			tr.gives("api uuid_bridge A B")
			tt.then(tr)
			if err := <-done; err == nil != tt.granted {
				t.Errorf("the request that has waited: %v", err)
			}
			tr.link.inbox.Post(func() {
				if len(tr.link.bridges)+len(tr.link.requests) > 0 {
					t.Error("something still waits")
				}
			})
			tr.tell("")
		})
	}
}
