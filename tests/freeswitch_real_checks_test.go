package tests

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A wrong domain is in the log.
func TestRealFreeSWITCHDomain(t *testing.T) {
	t.Parallel()
	r := realFreeSWITCH(t).front("domain: pbx.example.com")
	waitFor(t, "the log line", func() bool {
		return strings.Contains(r.out.String(), "does not have the domain: calls to its telephones fail\" link=fs domain=pbx.example.com")
	})
	r.stop()
}

// A user of the event socket with few rights gets an error that says so, and the log names the command.
func TestRealFreeSWITCHRights(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t, func(f *realSwitch) { f.Allowed = "show status uuid_getvar" })
	r := f.front("session: {user: ctilink, password: " + f.Password + "}")
	o := talkTo(r, "1001")
	to := uacsta.Dev("1002")
	for command, service := range map[string]any{
		"originate": call("1001", "1002"),
		"db":        uacsta.SetForwarding{Device: uacsta.Dev("1001"), ActivateForward: true, ForwardDN: &to},
	} {
		waitFor(t, "the log line", func() bool { // it is written once a second
			if err := o.ask(service).Err(); err == nil || err.Value != uacsta.SecurityViolation {
				t.Errorf("%s: %v", command, err)
			}
			return strings.Contains(r.out.String(), "add it to esl-allowed-api\" link=fs command="+command)
		})
	}
	r.stop()
}

// Those in a conference learn that a telephone could not be called into it. One that rings stops when they have left.
func TestRealFreeSWITCHConferenceUnreached(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list := f.telephones("1001", "1002", "1003")
	r := f.front()
	o := talkTo(r, "1001", "1002")
	near := list[0].dials("1002")
	o.await("1002", "Delivered")
	far := list[1].rings().answers()
	o.await("1002", "Established")
	near.up()
	own := o.calls("1001")[0]
	join := uacsta.SingleStepConferenceCall{ActiveCall: own, ParticipationType: uacsta.ParticipationActive}
	for _, number := range []string{"1004", "99999"} { // not registered, not in the directory
		join.DeviceToJoin = uacsta.Dev(number)
		o.must(join)
		if failed := o.event("1002", "Failed"); failed.Connections()[0].DeviceID() != number {
			t.Errorf("%s: %s", number, failed)
		}
	}
	join.DeviceToJoin = uacsta.Dev("1003")
	o.must(join)
	third := list[2].rings()
	far.hangsUp()
	o.await("1001", "ConnectionCleared")
	near.hangsUp()
	third.ends()
	f.idle()
	r.stop()
}
