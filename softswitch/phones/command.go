package phones

import "github.com/tr87proxy/tr87proxy/sip"

// talk tells a telephone to answer the call that alerts there, once.
func (l *leg) talk() {
	if !l.talked && l.dialog != nil && l.trunk == nil {
		l.talked = true
		l.command(false)
	}
}

// command makes a telephone answer the call that alerts there, or, with held, retrieve it, in the best way
// that the telephone supports: uaCSTA, NOTIFY talk in the call's dialog, or its maker's NOTIFY.
func (l *leg) command(held bool) {
	s := l.server
	if s.telephones.Lift(l.device, held) {
		return
	}
	s.mu.Lock()
	alone, callID := len(s.line(l.device).legs) == 1, l.callID
	s.mu.Unlock()
	switch command := s.telephones.Command(l.device, held); {
	case command == nil || s.telephones.ObeysTalk(l.device):
		l.dialog.Send("NOTIFY", "", nil, func(res sip.Result) {
			if res.Code()/100 != 2 {
				s.log.Info("telephone refused NOTIFY talk", "device", l.device, "code", res.Code())
			}
		}, sip.Header{Name: "Event", Value: "talk"}, sip.Header{Name: "Subscription-State", Value: "active;expires=60"})
	case alone:
		command.Send(callID)
	default:
		s.log.Info("telephone with several calls cannot be told which to answer", "device", l.device, "model", command.Model)
	}
}
