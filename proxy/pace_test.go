package proxy_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// After a reconnect the core paces its own requests: the monitors and registrations that it restarts,
// and the snapshots.
func TestPaceAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pace, devices, calls, routes = 100, 100, 10, 60
		f := registers()
		var mu sync.Mutex
		asked := map[time.Time]int{}
		counted := func(answer func(*uacsta.Message) (*uacsta.Message, error)) func(*uacsta.Message) (*uacsta.Message, error) {
			return func(m *uacsta.Message) (*uacsta.Message, error) {
				mu.Lock()
				asked[time.Now().Truncate(time.Second)]++
				mu.Unlock()
				return answer(m)
			}
		}
		monitors := 0
		f.answers["RouteRegister"] = counted(f.answers["RouteRegister"])
		f.answers["MonitorStart"] = counted(func(*uacsta.Message) (*uacsta.Message, error) {
			monitors++
			return uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: fmt.Sprint(monitors)}, uacsta.Edition3), nil
		})
		f.answers["SnapshotCall"] = counted(func(m *uacsta.Message) (*uacsta.Message, error) {
			return uacsta.Accept(m, uacsta.Edition3), nil
		})
		f.answers["SnapshotDevice"] = counted(func(m *uacsta.Message) (*uacsta.Message, error) {
			device, list := m.Text("snapshotObject"), &uacsta.SnapshotDeviceDataList{}
			for n := range calls {
				list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, uacsta.SnapshotDeviceResponseInfo{
					ConnectionIdentifier: uacsta.Conn(fmt.Sprint(device, "-", n), device), LocalCallState: uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{uacsta.Queued}},
				})
			}
			return uacsta.Encode(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}, uacsta.Edition3), nil
		})
		p := start(t, f, demo, func(c *proxy.Config) { c.Pace = pace })
		s, _ := open(t, p, "a")
		for n := range routes {
			request(s, routesOf(fmt.Sprint(200+n)))
		}
		for n := range devices {
			request(s, monitorOf(fmt.Sprint(200+n)))
		}
		mu.Lock()
		clear(asked)
		mu.Unlock()
		f.lose <- errors.New("lost")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		most, all := 0, 0
		for _, n := range asked {
			most, all = max(most, n), all+n
		}
		if want := routes + 2*devices + devices*calls; all != want || most > pace+50 {
			t.Errorf("asked %d times, want %d; %d times in a second", all, want, most)
		}
	})
}
