// Package lync adapts the TR/87 front to Lync, Skype for Business, OCS and Communicator, which
// deviate from TR/87. It provides a dialect for package tr87.
package lync

import (
	"errors"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Dialect implements tr87.Dialect for the Lync family.
type Dialect struct{}

// Name implements tr87.Dialect.
func (Dialect) Name() string { return "lync" }

// agents are parts of the family's User-Agent headers, in lower case: Lync and Skype for
// Business, Communicator and Office Communicator, the RTC client library, and the open-source
// client SIPE.
var agents = []string{"uccapi/", "oc/", "lcc/", "ucwa/", "rtc/", "skype for business", "microsoft lync", "sipe/"}

// Speaks implements tr87.Dialect. It recognises the family by the line in its private data, or
// by its User-Agent.
func (Dialect) Speaks(userAgent string, opening *uacsta.Message) bool {
	if opening != nil && opening.PrivateText("line") != "" {
		return true
	}
	userAgent = strings.ToLower(userAgent)
	for _, agent := range agents {
		if strings.Contains(userAgent, agent) {
			return true
		}
	}
	return false
}

// Refusal implements tr87.Dialect. It answers 480 instead of 503 when the problem concerns one
// line: a front end takes 503 for a failed gateway and may disable its route for everybody.
func (Dialect) Refusal(err error) (sip.Answer, bool) {
	if errors.Is(err, proxy.ErrForbidden) || errors.Is(err, proxy.ErrUnknownLine) || errors.Is(err, proxy.ErrTooMany) {
		return sip.Answer{}, false
	}
	return sip.Answer{Code: 480, Headers: []sip.Header{{Name: "Retry-After", Value: "30"}}}, true
}
