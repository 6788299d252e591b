package freeswitch

import "github.com/tr87proxy/tr87proxy/uacsta"

// recorded are recordings of a FreeSWITCH 1.10.12 with its own configuration.
var recorded = []situation{
	{
		"two-registrations", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Established 1001 connected newCall
Held 1001 connected normal
ConnectionCleared 1000 null normalClearing`,
			"1001": `Delivered 1001 alerting newCall
Established 1001 connected newCall
Held 1001 hold normal
ConnectionCleared 1000 hold normalClearing
ConnectionCleared 1001 null normalClearing`,
		}, true,
	},
	{
		"two-registrations-reject", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Established 1001 connected newCall
ConnectionCleared 1000 null normalClearing`,
			"1001": `Delivered 1001 alerting newCall
Established 1001 connected newCall
ConnectionCleared 1000 connected normalClearing
ConnectionCleared 1001 null normalClearing`,
		}, true,
	},
	{
		"reject-ringing", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Failed 1001 connected busy
ConnectionCleared 1001 connected busy
ConnectionCleared 1000 null busy`,
			"1001": `Delivered 1001 alerting newCall
Failed 1001 fail busy
ConnectionCleared 1001 null busy`,
		}, true,
	},
	{
		"no-answer", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Failed 1001 connected callNotAnswered
ConnectionCleared 1001 connected callNotAnswered
ConnectionCleared 1000 null normalClearing`,
			"1001": `Delivered 1001 alerting newCall
Failed 1001 fail callNotAnswered
ConnectionCleared 1001 null callNotAnswered`,
		}, true,
	},
	{
		"abandon", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
ConnectionCleared 1000 null callCancelled`,
			"1001": `Delivered 1001 alerting newCall
ConnectionCleared 1000 alerting callCancelled
ConnectionCleared 1001 null callCancelled`,
		}, true,
	},
	{
		"ring-group-reject", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Delivered 1002 connected newCall
ConnectionCleared 1001 connected busy
Established 1002 connected newCall
ConnectionCleared 1000 null normalClearing`,
			"1001": `Delivered 1001 alerting newCall
Delivered 1002 alerting newCall
ConnectionCleared 1001 null busy`,
			"1002": `Delivered 1002 alerting newCall
ConnectionCleared 1001 alerting busy
Established 1002 connected newCall
ConnectionCleared 1000 connected normalClearing
ConnectionCleared 1002 null normalClearing`,
		}, true,
	},
	{
		"trunk-busy", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
NetworkReached 555123 connected newCall
Failed 555123 connected busy
ConnectionCleared 555123 connected busy
ConnectionCleared 1000 null busy`,
			"0120": "NetworkReached 555123  newCall\nFailed 555123 fail busy\nConnectionCleared 555123 null busy",
		}, true,
	},
	{
		"blind-refer-by-caller", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Established 1001 connected newCall
Transfered 1000 null singleStepTransfer`,
			"1001": `Delivered 1001 alerting newCall
Established 1001 connected newCall
Transfered 1000 connected singleStepTransfer
Delivered 1002 connected redirected
Established 1002 connected redirected
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1001 null normalClearing`,
			"1002": `Delivered 1002 alerting redirected
Established 1002 connected redirected
ConnectionCleared 1002 null normalClearing`,
		}, true,
	},
	{
		"blind-refer-by-called", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Established 1001 connected newCall
Transfered 1001 connected singleStepTransfer
Delivered 1002 connected redirected
Established 1002 connected redirected
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1000 null normalClearing`,
			"1001": `Delivered 1001 alerting newCall
Established 1001 connected newCall
Transfered 1001 null singleStepTransfer`,
			"1002": `Delivered 1002 alerting redirected
Established 1002 connected redirected
ConnectionCleared 1002 null normalClearing`,
		}, true,
	},
	{
		"attended-refer", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Established 1001 connected newCall
Held 1000 hold normal
ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1002 connected newCall
Established 1002 connected newCall
Transfered 1000 null transfer`,
			"1001": `Delivered 1001 alerting newCall
Established 1001 connected newCall
Held 1000 connected normal
Transfered 1000 connected transfer
ConnectionCleared 1001 null normalClearing`,
			"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
Transfered 1000 connected transfer
ConnectionCleared 1001 connected normalClearing
ConnectionCleared 1002 null normalClearing`,
		}, true,
	},
	{
		"attended-refer-ringing", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Established 1001 connected newCall
Held 1000 hold normal
ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1002 connected newCall
Transfered 1000 null transfer`,
			"1001": `Delivered 1001 alerting newCall
Established 1001 connected newCall
Held 1000 connected normal
Transfered 1000 connected transfer
Established 1002 connected redirected
ConnectionCleared 1001 null normalClearing`,
			"1002": `Delivered 1002 alerting newCall
Transfered 1000 alerting transfer
Established 1002 connected redirected
ConnectionCleared 1001 connected normalClearing
ConnectionCleared 1002 null normalClearing`,
		}, true,
	},
	{
		"single-step-transfer-made", []func(*player) any{
			func(*player) any {
				return uacsta.MakeCall{CallingDevice: uacsta.Dev("1000"), CalledDirectoryNumber: uacsta.Dev("1001")}
			},
			func(p *player) any {
				return uacsta.SingleStepTransferCall{ActiveCall: p.on("1000", uacsta.Connected, "1001"), TransferredTo: uacsta.Dev("1002")}
			},
		}, map[string]string{
			"1000": `ServiceInitiated 1000 initiated makeCall
Originated 1000 connected newCall
Delivered 1001 connected newCall
Established 1001 connected newCall
Transfered 1000 null singleStepTransfer`,
			"1001": `Delivered 1001 alerting newCall
Established 1001 connected newCall
Transfered 1000 connected singleStepTransfer
Delivered 1002 connected redirected
Established 1002 connected redirected
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1001 null normalClearing`,
			"1002": `Delivered 1002 alerting redirected
Established 1002 connected redirected
ConnectionCleared 1002 null normalClearing`,
		}, false,
	},
	{
		"predictive-busy", []func(*player) any{
			func(*player) any {
				return uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("9500"), CalledDirectoryNumber: uacsta.Dev("1001")}
			},
		}, map[string]string{"9500": "Failed 9500 null busy"}, false,
	},
	{
		"predictive-reject", []func(*player) any{
			func(*player) any {
				return uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("9500"), CalledDirectoryNumber: uacsta.Dev("1001")}
			},
		}, map[string]string{
			"1001": "Delivered 1001 alerting newCall\nFailed 1001 fail busy\nConnectionCleared 1001 null busy",
			"9500": "Failed 9500 null busy",
		}, false,
	},
	{
		"holder-hangs-up", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1001 connected newCall
Established 1001 connected newCall
Held 1001 connected normal
ConnectionCleared 1001 connected normalClearing
ConnectionCleared 1000 null normalClearing`,
			"1001": `Delivered 1001 alerting newCall
Established 1001 connected newCall
Held 1001 hold normal
ConnectionCleared 1001 null normalClearing`,
		}, true,
	},
	{
		"conference-cleared", nil, map[string]string{
			"7401": `Established 7401 connected newCall
Conferenced 7401 connected conference
ConnectionCleared 1000 connected normalClearing
ConnectionCleared 1001 connected normalClearing
ConnectionCleared 7401 null normalClearing`,
		}, true,
	},
	{
		"loopback", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Delivered 1002 connected newCall
Established 1002 connected newCall
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1000 null normalClearing`,
			"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
ConnectionCleared 1002 null normalClearing`,
		}, true,
	},
	{
		"busy-voicemail", nil, map[string]string{
			"1000": `ServiceInitiated 1000 initiated normal
Originated 1000 connected newCall
Failed 1001 connected busy
ConnectionCleared 1000 null normalClearing`,
		}, true,
	},
}
