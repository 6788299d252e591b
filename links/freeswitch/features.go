package freeswitch

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// FreeSWITCH keeps do not disturb and forwarding in mod_db, where the dialplan reads them: a
// realm for each, with a key for each device. The telephones' feature keys are handled through
// FreeSWITCH.

// Realms in mod_db.
const (
	keepsDND   = "csta_dnd"
	keepsRings = "csta_ring_count"
)

// forwardings lists the realms of the forwarding types. Without csta_ they are the names of
// FreeSWITCH's feature keys.
var forwardings = []struct {
	kind  uacsta.ForwardingType
	realm string
}{
	{uacsta.ForwardImmediate, "csta_forward_immediate"}, {uacsta.ForwardBusy, "csta_forward_busy"}, {uacsta.ForwardNoAns, "csta_forward_no_answer"},
}

// settings holds the features of a device.
type settings struct {
	dnd      bool
	rings    int // before forwarding on no answer; 0: as the dialplan says
	forwards map[uacsta.ForwardingType]*forward
	changes  []func() // changes in progress, the first one running
}

// maxChanges limits the changes in progress for one device.
const maxChanges = 16

type forward struct {
	on bool
	to string
}

// profile describes a registered telephone.
type profile struct{ name, agent string }

// known passes the settings of a device to then. It reads them from FreeSWITCH if they are
// unknown.
func (l *Link) known(device string, then func(*settings, error)) {
	switch s := l.features[device]; {
	case !l.isDevice(device):
		then(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
		return
	case s != nil:
		then(s, nil)
		return
	case len(l.features) >= maxDevices:
		then(nil, errBusy)
		return
	}
	s := &settings{forwards: map[uacsta.ForwardingType]*forward{}}
	type kept struct {
		realm string
		take  func(value string)
	}
	keys := []kept{
		{keepsDND, func(value string) { s.dnd = value == "true" }},
		{keepsRings, func(value string) { s.rings = rings(value) }},
	}
	for _, f := range forwardings {
		s.forwards[f.kind] = &forward{}
		keys = append(keys, kept{f.realm, func(value string) {
			if words.MatchString(value) {
				*s.forwards[f.kind] = forward{true, value}
			}
		}})
	}
	var next func(i int)
	next = func(i int) {
		switch was := l.features[device]; {
		case was != nil: // another request read them meanwhile
			then(was, nil)
			return
		case i == len(keys):
			l.features[device] = s
			then(s, nil)
			return
		}
		l.query(api("db select/"+keys[i].realm+"/%", l.device(device)), func(value string, err error) {
			switch {
			case errors.Is(err, errRights):
				then(nil, err)
				return
			case err != nil && !errors.Is(err, errNothing):
				l.report(slog.LevelInfo, "", "could not read features from mod_db: is it loaded?", "err", err)
				then(nil, errBusy)
				return
			}
			keys[i].take(value)
			next(i + 1)
		})
	}
	next(0)
}

// change changes the settings of a device after all earlier changes. by calls over when its
// change is complete.
func (l *Link) change(device string, by func(s *settings, over func()), refuse func(error)) {
	l.known(device, func(s *settings, err error) {
		if err == nil && len(s.changes) >= maxChanges {
			err = errBusy
		}
		if err != nil {
			refuse(err)
			return
		}
		s.changes = append(s.changes, func() {
			by(s, func() {
				if s.changes = s.changes[1:]; len(s.changes) > 0 {
					s.changes[0]()
				}
			})
		})
		if len(s.changes) == 1 {
			s.changes[0]()
		}
	})
}

// rings parses the number of rings before forwarding. 0 means unspecified.
func rings(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 100 {
		return 0
	}
	return n
}

// store returns the command that stores a setting. An empty value deletes it.
func (l *Link) store(realm, device, value string) instruction {
	if value == "" {
		return api("db delete/"+realm+"/%", l.device(device))
	}
	return api("db insert/"+realm+"/%/%", l.device(device), word(value))
}

// getDoNotDisturb implements Get Do Not Disturb (ECMA-269).
func (l *Link) getDoNotDisturb(req *uacsta.GetDoNotDisturb, answer proxy.Answer) {
	l.known(req.Device.ID, func(s *settings, err error) {
		if err != nil {
			answer(nil, err)
			return
		}
		answer(uacsta.GetDoNotDisturbResponse{DoNotDisturbOn: s.dnd}, nil)
	})
}

// setDoNotDisturb implements Set Do Not Disturb (ECMA-269), for all calls only.
func (l *Link) setDoNotDisturb(req *uacsta.SetDoNotDisturb, answer proxy.Answer) {
	if req.CallOrigination != nil || len(req.CallingDeviceList) > 0 {
		answer(nil, errParameter)
		return
	}
	l.disturb(req.Device.ID, req.DoNotDisturbOn, false, func(err error) { answer(uacsta.SetDoNotDisturbResponse{}, err) })
}

// disturb sets do not disturb. key means that the telephone's user did it; the telephone gets
// the result.
func (l *Link) disturb(device string, on, key bool, done func(error)) {
	l.change(device, func(s *settings, over func()) {
		if s.dnd == on {
			done(nil)
			if key {
				l.lamp(device, dndLamp(s)...)
			}
			over()
			return
		}
		value := ""
		if on {
			value = "true"
		}
		l.orders([]instruction{l.store(keepsDND, device, value)}, func(err error) {
			if done(err); err == nil {
				s.dnd = on
				l.watch.Send(device, func(ref string) any {
					return uacsta.DoNotDisturbEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(device), DoNotDisturbOn: on}
				})
				l.lamp(device, dndLamp(s)...)
			}
			over()
		})
	}, done)
}

func dndLamp(s *settings) []part {
	return []part{form("Feature-Event: DoNotDisturbEvent"), s.dndLine()}
}

// dndLine returns FreeSWITCH's header for do not disturb.
func (s *settings) dndLine() part { return form("doNotDisturbOn: %", flag(s.dnd)) }

// getForwarding implements Get Forwarding (ECMA-269).
func (l *Link) getForwarding(req *uacsta.GetForwarding, answer proxy.Answer) {
	l.known(req.Device.ID, func(s *settings, err error) {
		if err != nil {
			answer(nil, err)
			return
		}
		var res uacsta.GetForwardingResponse
		for _, f := range forwardings {
			item := uacsta.ForwardListItem{ForwardingType: f.kind, ForwardStatus: s.forwards[f.kind].on, ForwardDN: s.forwards[f.kind].destination()}
			item.RingCount = s.ringCount(f.kind)
			res.ForwardingList = append(res.ForwardingList, item)
		}
		answer(res, nil)
	})
}

func (f *forward) destination() *uacsta.DeviceID {
	if f.to == "" {
		return nil
	}
	to := uacsta.Dev(f.to)
	return &to
}

// ringCount returns the number of rings before a type of forwarding, or nil if unspecified.
func (s *settings) ringCount(kind uacsta.ForwardingType) *int {
	if kind != uacsta.ForwardNoAns || s.rings == 0 {
		return nil
	}
	n := s.rings
	return &n
}

// setForwarding implements Set Forwarding (ECMA-269).
func (l *Link) setForwarding(req *uacsta.SetForwarding, answer proxy.Answer) {
	kind, to, count := req.ForwardingType, "", 0
	if kind == "" {
		kind = uacsta.ForwardImmediate
	}
	if req.ForwardDN != nil {
		to = req.ForwardDN.ID
	}
	if req.RingCount != nil {
		if count = rings(strconv.Itoa(*req.RingCount)); count == 0 {
			answer(nil, errParameter)
			return
		}
	}
	l.redirect(req.Device.ID, kind, forward{req.ActivateForward, to}, count, false, func(err error) { answer(uacsta.SetForwardingResponse{}, err) })
}

// redirect sets a type of forwarding. A number or count that is not given stays unchanged.
func (l *Link) redirect(device string, kind uacsta.ForwardingType, next forward, count int, key bool, done func(error)) {
	l.change(device, func(s *settings, over func()) {
		texts, next, count, err := l.redirection(s, device, kind, next, count)
		if len(texts) == 0 {
			if done(err); err == nil && key {
				l.lamp(device, forwardLamp(s, kind)...)
			}
			over()
			return
		}
		l.orders(texts, func(err error) {
			if done(err); err == nil {
				*s.forwards[kind], s.rings = next, count
				l.watch.Send(device, func(ref string) any {
					return uacsta.ForwardingEvent{
						MonitorCrossRefID: ref, Device: uacsta.Ext(device), ForwardingType: kind, ForwardStatus: next.on, ForwardTo: next.destination(), RingCount: s.ringCount(kind),
					}
				})
				l.lamp(device, forwardLamp(s, kind)...)
			}
			over()
		})
	}, done)
}

// redirection returns the commands that set a type of forwarding, and its new state. It returns
// no commands if nothing changes.
func (l *Link) redirection(s *settings, device string, kind uacsta.ForwardingType, next forward, count int) ([]instruction, forward, int, error) {
	was := s.forwards[kind]
	if was == nil {
		return nil, next, 0, uacsta.Refuse(uacsta.Operation, uacsta.InvalidForwardingType)
	}
	if next.to == "" {
		next.to = was.to
	}
	user, _ := l.userOf(device)
	if (next.on || next.to != "") && !words.MatchString(next.to) || next.on && next.to == user {
		return nil, next, 0, uacsta.Refuse(uacsta.Operation, uacsta.InvalidForwardingDestination)
	}
	if count == 0 || kind != uacsta.ForwardNoAns {
		count = s.rings
	}
	var texts []instruction
	if count != s.rings {
		texts = append(texts, l.store(keepsRings, device, strconv.Itoa(count)))
	}
	if *was != next {
		value := ""
		if next.on {
			value = next.to
		}
		texts = append(texts, l.store(realm(kind), device, value))
	}
	return texts, next, count, nil
}

// realm returns the realm of a type of forwarding.
func realm(kind uacsta.ForwardingType) string {
	for _, f := range forwardings {
		if f.kind == kind {
			return f.realm
		}
	}
	return ""
}

func forwardLamp(s *settings, kind uacsta.ForwardingType) []part {
	return append([]part{form("Feature-Event: ForwardingEvent")}, s.forwardLines(kind)...)
}

// forwardLines returns FreeSWITCH's headers for a type of forwarding.
func (s *settings) forwardLines(kind uacsta.ForwardingType) []part {
	f, name := s.forwards[kind], strings.TrimPrefix(realm(kind), "csta_")
	lines := []part{form(name+": %", noneOrWord(f.to)), form(name+"_enabled: %", flag(f.on))}
	if n := s.ringCount(kind); n != nil {
		lines = append(lines, form("ringCount: %", count(*n)))
	}
	return lines
}

// lamp tells the telephones of a device the new state of a feature.
func (l *Link) lamp(device string, lines ...part) {
	user, domain := l.userOf(device)
	lines = slices.Concat([]part{form("profile: %", word(l.profile(device))), form("user: %", word(user)), form("host: %", word(domain)), form("device: %", word(user))}, lines)
	l.order(sendEvent("PHONE_FEATURE", lines...), func(any, error) {}, nil)
}

// profile returns the sofia profile at which a device is registered.
func (l *Link) profile(device string) string {
	if p := l.profiles[device]; p.name != "" {
		return p.name
	}
	return l.cfg.Profile
}

// featureKey handles a telephone that asks for its features or changes one.
func (l *Link) featureKey(e event) {
	device, subscription := l.deviceOf(e.get("user"), e.get("host")), e.get("call-id")
	if !l.isDevice(device) {
		return
	}
	if name := e.get("profile_name"); words.MatchString(name) && (len(l.profiles) < maxDevices || l.profiles[device].name != "") {
		l.profiles[device] = profile{name, l.profiles[device].agent}
	}
	on := e.get("Feature-Enabled") == "true"
	switch e.get("Feature-Action") {
	case "SetDoNotDisturb":
		l.disturb(device, on, true, func(error) {})
	case "SetCallForward":
		for _, f := range forwardings {
			if strings.TrimPrefix(f.realm, "csta_") == e.get("Action-Name") {
				l.redirect(device, f.kind, forward{on, e.get("Action-Value")}, rings(e.get("ringCount")), true, func(error) {})
			}
		}
	case "":
		l.known(device, func(s *settings, err error) {
			if err != nil || subscription == "" {
				return
			}
			lines := []part{form("call-id: %", header(subscription)), form("Feature-Event: init")}
			for _, f := range forwardings {
				if s.forwards[f.kind].to != "" {
					lines = append(lines, s.forwardLines(f.kind)...)
				}
			}
			l.lamp(device, append(lines, s.dndLine())...)
		})
	}
}

// setMessageWaiting implements Set Message Waiting Indicator (ECMA-269). FreeSWITCH informs the
// telephone, and the link by an event.
func (l *Link) setMessageWaiting(req *uacsta.SetMessageWaitingIndicator, answer proxy.Answer) {
	device := req.Device.ID
	if !l.isDevice(device) || req.DeviceForMessage != nil {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
		return
	}
	user, domain := l.userOf(device)
	waiting := form("MWI-Messages-Waiting: no")
	if req.MessageWaitingOn {
		waiting = form("MWI-Messages-Waiting: yes")
	}
	l.order(sendEvent("MESSAGE_WAITING", waiting, form("MWI-Message-Account: sip:%@%", word(user), word(domain))), answer,
		uacsta.SetMessageWaitingIndicatorResponse{})
}

// messageWaiting handles a change of waiting messages, caused by a mailbox or a service.
func (l *Link) messageWaiting(e event) {
	_, account, _ := strings.Cut(e.get("MWI-Message-Account"), ":")
	user, domain, _ := strings.Cut(account, "@")
	device, on := l.deviceOf(user, domain), e.get("MWI-Messages-Waiting") == "yes"
	if !l.isDevice(device) || l.waiting[device] == on || on && len(l.waiting) >= maxDevices {
		return
	}
	if l.waiting[device] = on; !on {
		delete(l.waiting, device)
	}
	l.watch.Send(device, func(ref string) any {
		return uacsta.MessageWaitingEvent{MonitorCrossRefID: ref, TargetDevice: uacsta.Ext(device), MessageWaitingOn: on}
	})
}
