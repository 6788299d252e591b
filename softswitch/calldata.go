package softswitch

import (
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// associateData implements Associate Data (ECMA-269 clause 18). The data appears in a
// CallInformation event and in all later events of the call.
func (s *Switch) associateData(req *uacsta.AssociateData) (any, error) {
	x, err := s.find(req.ExistingCall, errConnection)
	if err != nil {
		return nil, err
	}
	d := &x.call.data
	replace := func(old *string, value string) {
		if value != "" {
			*old = value
		}
	}
	replace(&d.account, req.AccountCode)
	replace(&d.auth, req.AuthCode)
	replace(&d.qualifying, req.CallQualifyingData)
	replace(&d.subject, req.SubjectOfCall)
	replace(&d.languages, req.LanguagePreferences)
	if !req.CorrelatorData.IsZero() {
		d.correlator = req.CorrelatorData
	}
	if req.CallCharacteristics != nil {
		d.characteristics = req.CallCharacteristics
	}
	x.notifyInformation()
	return uacsta.AssociateDataResponse{}, nil
}

// sendUserInformation implements Send User Information (ECMA-269 clause 18). The other parties
// see it in a CallInformation event.
func (s *Switch) sendUserInformation(req *uacsta.SendUserInformation) (any, error) {
	x, err := s.find(req.ExistingCall, errConnection)
	switch {
	case err != nil:
		return nil, err
	case req.UserData.IsZero():
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidParameterValue)
	}
	x.notifyInformation()
	return uacsta.SendUserInformationResponse{}, nil
}

func (x *connection) notifyInformation() {
	d := x.call.data
	x.call.sw.emit(x.call, nil, uacsta.CallInformationEvent{
		Connection: x.id(), Device: uacsta.Ext(x.device.number), AccountInfo: d.account, AuthCode: d.auth, CallQualifyingData: d.qualifying,
	})
}

// generateDigits implements Generate Digits (ECMA-269 clause 18).
func (s *Switch) generateDigits(req *uacsta.GenerateDigits) (any, error) {
	x, err := s.find(req.ConnectionToSendDigits, errConnection)
	switch {
	case err != nil:
		return nil, err
	case req.DigitMode == uacsta.RotaryPulse:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.DigitModeNotSupported)
	case req.CharactersToSend == "" || strings.Trim(req.CharactersToSend, "0123456789*#ABCDabcd,") != "":
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.CharactersToSendNotSupported)
	}
	if refusal := x.mayDial(); refusal != nil {
		return nil, refusal
	}
	s.voice = append(s.voice, Voice{
		Call: x.call.id, Key: x.order, Digits: req.CharactersToSend, Tone: keyTime(req.ToneDuration), Pause: keyTime(req.PauseDuration),
	})
	s.emit(x.call, nil, uacsta.DigitsGeneratedEvent{Connection: x.id(), DigitGeneratedList: req.CharactersToSend})
	others := devicesOf(x.call.others(x))
	for _, digit := range strings.ToUpper(strings.ReplaceAll(req.CharactersToSend, ",", "")) {
		s.heard(x, digit, others)
	}
	return uacsta.GenerateDigitsResponse{}, nil
}

// keyTime returns how long to press a key, or to pause after it. The input is in milliseconds;
// the result is limited to a few seconds.
func keyTime(ms *int) time.Duration {
	if ms == nil {
		return 100 * time.Millisecond
	}
	return time.Duration(min(max(*ms, 40), 5000)) * time.Millisecond
}
