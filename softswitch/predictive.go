package softswitch

import (
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// predictive is the part of a predictive call that remains while its far end is called (ECMA-269 17.1 Make Predictive
// Call). Meanwhile the connection of the calling device is initiated.
type predictive struct {
	own       *connection // of the calling device
	condition uacsta.SignallingCondition
	prompt    bool
	alertTime time.Duration
	waits     bool // until the far end meets condition
}

// makePredictiveCall implements Make Predictive Call (ECMA-269 17.1). When the far end rings or
// answers, the calling device gets the call: an extension is prompted or lifted; a queue or
// hunt group distributes it. The switch cannot tell voices from machines.
func (s *Switch) makePredictiveCall(req *uacsta.MakePredictiveCall) (any, error) {
	d, signalling := s.devices[req.CallingDevice.ID], req.SignallingDetection
	switch {
	case d == nil || !d.station() && d.queue == nil && d.hunt == nil:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID)
	case req.CalledDirectoryNumber.ID == "" || s.target(req.CalledDirectoryNumber.ID, nil) == d:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID)
	case signalling == nil && len(req.DestinationDetection) > 0, signalling != nil && signalling.SignallingConditionsAction == uacsta.SignallingConditionsActionDestinationDetection:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.DestinationDetectNotSupported)
	case len(s.calls) >= s.cfg.MaxCalls:
		return nil, errLimit
	}
	p := &predictive{condition: uacsta.SignallingCallEstablished, prompt: req.AutoOriginate != uacsta.DoNotPrompt, waits: true}
	if signalling != nil {
		p.condition = signalling.SignallingCondition
	}
	if req.AlertTime != nil {
		if *req.AlertTime < 1 || *req.AlertTime > 600 {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidAlertTime)
		}
		p.alertTime = time.Duration(*req.AlertTime) * time.Second
	}
	if d.station() {
		if refusal := s.mayCall(d, p.prompt, nil); refusal != nil {
			return nil, refusal
		}
	}
	x := s.initiate(d, req.CalledDirectoryNumber.ID, uacsta.CauseMakePredictiveCall)
	x.presents(req.CallingDevice.ID)
	p.own, x.call.predictive = x, p
	x.call.data = data{
		account: req.AccountCode, auth: req.AuthCode, correlator: req.CorrelatorData, subject: req.SubjectOfCall, languages: req.LanguagePreferences,
		characteristics: req.CallCharacteristics,
	}
	x.call.present(x, req.CalledDirectoryNumber.ID, uacsta.CauseMakePredictiveCall)
	return uacsta.MakePredictiveCallResponse{InitiatedCall: x.id()}, nil
}

// conditionMet connects the calling device of a predictive call once its far end meets the
// requested condition. A far end that answers without ringing meets both.
func (c *call) conditionMet(condition uacsta.SignallingCondition) {
	p := c.predictive
	if p == nil || !p.waits || condition != p.condition && condition != uacsta.SignallingCallEstablished {
		return
	}
	p.waits = false
	if p.prompt && p.own.device.station() {
		p.own.prompt(uacsta.CauseMakePredictiveCall)
		return
	}
	c.predictive = nil
	p.own.establish(uacsta.CauseMakePredictiveCall)
	switch d := p.own.device; {
	case d.queue != nil:
		c.enter(d)
	case d.hunt != nil:
		p.own.leave()
		c.huntIn(d)
	}
}
