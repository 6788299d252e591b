package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// What clients set takes effect in the dialplan of docs/freeswitch.md, and the link says so when it would not.
func TestRealFreeSWITCHForwards(t *testing.T) {
	t.Parallel()
	const intercom = `<extension name="extension-intercom"><condition field="destination_number" expression="^8(10[01][0-9])$"><action application="bridge" data="user/$1@${domain_name}"/></condition></extension>`
	f := realFreeSWITCH(t, func(f *realSwitch) { f.Documented = append([]string{intercom}, f.Documented...) })
	list := f.telephones("1001", "1002", "1003")
	r := f.front()
	o := talkTo(r, "1002", "1003")
	to := uacsta.Dev("1003")
	o.must(uacsta.SetForwarding{Device: uacsta.Dev("1002"), ForwardingType: uacsta.ForwardImmediate, ActivateForward: true, ForwardDN: &to})
	o.await("1002", "Forwarding")
	l := list[0].dials("1002")
	o.await("1002", "Diverted")
	c := list[2].rings()
	o.await("1003", "Delivered")
	c.answers()
	hearEachOther(l.up(), c)
	l.hangsUp()
	o.await("1003", "ConnectionCleared")
	o.must(uacsta.SetForwarding{Device: uacsta.Dev("1002"), ForwardingType: uacsta.ForwardImmediate})
	o.must(uacsta.SetDoNotDisturb{Device: uacsta.Dev("1002"), DoNotDisturbOn: true})
	if status := list[0].dials("1002").fails(); status != 486 {
		t.Errorf("who does not want to be disturbed: %d", status)
	}
	o.must(uacsta.SetDoNotDisturb{Device: uacsta.Dev("1002")})
	l = list[0].dials("1002")
	hearEachOther(list[1].rings().answers(), l.up())
	l.hangsUp()
	list[1].silent()
	f.idle()
	if out := r.out.String(); strings.Contains(out, "do not disturb") || strings.Contains(out, "does not have the domain") {
		t.Errorf("the log says\n%s", out)
	}
	r.stop()
}

// The link says when the dialplan reads forwarding and do not disturb too late, or not at all.
func TestRealFreeSWITCHDialplan(t *testing.T) {
	t.Parallel()
	const rings = `<extension name="earlier"><condition field="destination_number" expression="^1001$"><action application="bridge" data="user/1001@${domain_name}"/></condition></extension>`
	for says, change := range map[string]func(*realSwitch){
		"reads forwarding and do not disturb too late": func(f *realSwitch) { f.Documented = append([]string{rings}, f.Documented...) },
		"does not read forwarding and do not disturb":  func(f *realSwitch) { f.Documented = nil },
	} {
		t.Run(says[:4], func(t *testing.T) {
			t.Parallel()
			f := realFreeSWITCH(t, change)
			f.telephones("1001")
			r := f.front()
			waitFor(t, "the log line", func() bool {
				return strings.Contains(r.out.String(), fmt.Sprintf("msg=\"FreeSWITCH's dialplan %s\" link=fs context=default", says))
			})
			r.stop()
		})
	}
}
