package samples

import (
	"encoding/hex"
	"strings"
)

// PDU is one frame of CSTA in ASN.1, as programs that are out there send it or take it.
type PDU struct {
	Name    string
	Flavour string // phase3, hipath or phase1
	Wire    string // hexadecimal, blanks between; frame and PDU
	XML     string // the message in it, without namespace; "" where it carries none
	Reply   string // of a result: the service that it answers
}

// Octets are those of the frame.
func (p *PDU) Octets() []byte {
	data, err := hex.DecodeString(strings.ReplaceAll(p.Wire, " ", ""))
	if err != nil {
		panic(err)
	}
	return data
}

// The time in PDUs is 20261120120000.
const stamp = " 18 0E 3230323631313230313230303030"

const security = `<extensions><security><timeStamp>2026-11-20T12:00:00</timeStamp></security></extensions>`

const connection1234 = `<callID>1234</callID><deviceID>100</deviceID>`

const parties = `<callingDevice><deviceIdentifier>200</deviceIdentifier></callingDevice><calledDevice><deviceIdentifier>100</deviceIdentifier></calledDevice>`

// ASN1 is the table.
var ASN1 = []PDU{
	{
		Name: "AARQ with name and password", Flavour: "hipath",
		Wire: "26 80 33 60 31 A1 07 06 05 2B0C00815A 8A 02 0680 AC 15 A2 13 A0 11 A0 0F 04 06 414D484F5354 04 05 3737373737 BE 0B 28 09 A0 07 A0 05 03 03 001000",
	},
	{
		Name: "AARE that accepts", Flavour: "hipath",
		Wire: "26 80 4B 61 49 A1 07 06052B0C00815A A2 03 020100 A3 05 A1 03 020100 88 02 0680 AA 21 A2 1F A0 1D A1 1B 04 10 000102030405060708090A0B0C0D0E0F 04 07 54523837505259 BE 0B 28 09 A0 07 A0 05 0303001000",
	},
	{Name: "ABRT", Flavour: "hipath", Wire: "26 80 08 64 06 80 01 00 81 01 01"},
	{
		Name: "SystemStatus", Flavour: "hipath", Wire: "26 80 0D A1 0B 02 01 01 02 01 34 30 03 0A 01 02",
		XML: `<SystemStatus><systemStatus>normal</systemStatus></SystemStatus>`,
	},
	{
		Name: "result of SystemStatus", Flavour: "hipath", Wire: "26 80 0C A2 0A 02 01 01 30 05 02 01 34 05 00", Reply: "SystemStatus",
		XML: `<SystemStatusResponse></SystemStatusResponse>`,
	},
	{
		Name: "MonitorStart", Flavour: "hipath",
		Wire: "26 80 37 A1 35 02 01 01 02 01 47 30 2D 30 05 80 03 313030 A0 24 80 04 06000000 86 02 0300 87 02 0600 88 03 050000 89 03 020000 83 02 0500 85 02 0100 84 02 0700",
		XML:  `<MonitorStart><monitorObject><deviceObject>100</deviceObject></monitorObject><requestedMonitorFilter></requestedMonitorFilter></MonitorStart>`,
	},
	{
		Name: "result of MonitorStart", Flavour: "hipath", Wire: "26 80 10 A2 0E 020101 30 09 020147 30 04 55 02 0007", Reply: "MonitorStart",
		XML: `<MonitorStartResponse><monitorCrossRefID>0007</monitorCrossRefID></MonitorStartResponse>`,
	},
	{
		Name: "MonitorStop", Flavour: "hipath", Wire: "26 80 0E A1 0C 02 01 02 02 01 49 30 04 55 02 0001",
		XML: `<MonitorStop><monitorCrossRefID>0001</monitorCrossRefID></MonitorStop>`,
	},
	{
		Name: "result of MonitorStop", Flavour: "hipath", Wire: "26 80 0C A2 0A 020102 30 05 020149 0500", Reply: "MonitorStop",
		XML: `<MonitorStopResponse></MonitorStopResponse>`,
	},
	{
		Name: "delivered", Flavour: "hipath",
		Wire: "26 80 5C A1 5A 020105 020115 30 52 55 02 0007 A0 4C A4 4A 6B 0F 300D 80021234 A107 3005 8003313030 63 07 3005 8003313030 61 07 3005 8003323030 62 07 3005 8003313030 64 02 8700 4E 01 02 0A 01 16 7E 12 A0 10" + stamp,
		XML: `<DeliveredEvent><monitorCrossRefID>0007</monitorCrossRefID><connection>` + connection1234 + `</connection><alertingDevice><deviceIdentifier>100</deviceIdentifier></alertingDevice>` + parties +
			`<lastRedirectionDevice><notKnown></notKnown></lastRedirectionDevice><localConnectionInfo>alerting</localConnectionInfo><cause>newCall</cause>` + security + `</DeliveredEvent>`,
	},
	{
		Name: "established", Flavour: "hipath",
		Wire: "26 80 5C A1 5A 020105 020115 30 52 55 02 0007 A0 4C A7 4A 6B 0F 300D 80021234 A107 3005 8003313030 63 07 3005 8003313030 61 07 3005 8003323030 62 07 3005 8003313030 64 02 8700 4E 01 03 0A 01 16 7E 12 A0 10" + stamp,
		XML: `<EstablishedEvent><monitorCrossRefID>0007</monitorCrossRefID><establishedConnection>` + connection1234 + `</establishedConnection><answeringDevice><deviceIdentifier>100</deviceIdentifier></answeringDevice>` + parties +
			`<lastRedirectionDevice><notKnown></notKnown></lastRedirectionDevice><localConnectionInfo>connected</localConnectionInfo><cause>newCall</cause>` + security + `</EstablishedEvent>`,
	},
	{
		Name: "connection cleared", Flavour: "hipath",
		Wire: "26 80 46 A1 44 020105 020115 30 3C 55 02 0007 A0 36 A3 34 6B 0F 300D 80021234 A107 3005 8003313030 63 07 3005 8003323030 4E 01 00 0A 01 16 7E 12 A0 10" + stamp,
		XML: `<ConnectionClearedEvent><monitorCrossRefID>0007</monitorCrossRefID><droppedConnection>` + connection1234 + `</droppedConnection><releasingDevice><deviceIdentifier>200</deviceIdentifier></releasingDevice>` +
			`<localConnectionInfo>null</localConnectionInfo><cause>newCall</cause>` + security + `</ConnectionClearedEvent>`,
	},
	{
		Name: "MakeCall", Flavour: "phase3", Wire: "26 80 18 A1 16 02 01 03 02 01 0A 30 0E 30 05 80 03 313030 30 05 80 03 313031",
		XML: `<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber></MakeCall>`,
	},
	{
		Name: "SetDisplay, whose code has two octets", Flavour: "phase3", Wire: "26 80 16 A1 14 02 01 04 02 02 0112 30 0B 30 05 80 03 313030 16 02 4849",
		XML: `<SetDisplay><device>100</device><contentsOfDisplay>HI</contentsOfDisplay></SetDisplay>`,
	},
	{
		Name: "an event with lengths of the long and of the indefinite form", Flavour: "phase3",
		Wire: "26805AA1800201050201153082004C558200020007A080A4806B80308080021234A180308080033130300000000000000000630730058003313030610730058003323030620730058003313030640287004E01020A0116000000000000",
		XML: `<DeliveredEvent><monitorCrossRefID>0007</monitorCrossRefID><connection>` + connection1234 + `</connection><alertingDevice><deviceIdentifier>100</deviceIdentifier></alertingDevice>` + parties +
			`<lastRedirectionDevice><notKnown></notKnown></lastRedirectionDevice><localConnectionInfo>alerting</localConnectionInfo><cause>newCall</cause></DeliveredEvent>`,
	},
	{
		Name: "result of MonitorStart", Flavour: "phase1", Wire: "00 11 A2 0F 02 02 4D2A 30 09 020147 30 04 55 02 0001", Reply: "MonitorStart",
		XML: `<MonitorStartResponse><monitorCrossRefID>0001</monitorCrossRefID></MonitorStartResponse>`,
	},
	{
		Name: "delivered", Flavour: "phase1",
		Wire: "00 3D A1 3B 020101 020115 30 33 55 02 0001 80 01 04 30 2A 6B 09 8202 1234 8003 313030 63 05 8003313030 61 05 8003323030 62 05 8003313030 64 02 8800 4E 01 02 0A 01 16",
		XML: `<DeliveredEvent><monitorCrossRefID>0001</monitorCrossRefID><connection>` + connection1234 + `</connection><alertingDevice><deviceIdentifier>100</deviceIdentifier></alertingDevice>` + parties +
			`<lastRedirectionDevice><notRequired></notRequired></lastRedirectionDevice><localConnectionInfo>alerting</localConnectionInfo><cause>newCall</cause></DeliveredEvent>`,
	},
	{
		Name: "MonitorStart", Flavour: "phase1", Wire: "00 11 A1 0F 02 02 4D2A 02 01 47 30 06 80 04 31303031",
		XML: `<MonitorStart><monitorObject><deviceObject>1001</deviceObject></monitorObject></MonitorStart>`,
	},
	{
		Name: "MonitorStop", Flavour: "phase1", Wire: "00 0C A1 0A 02 01 02 02 01 49 55 02 0001",
		XML: `<MonitorStop><monitorCrossRefID>0001</monitorCrossRefID></MonitorStop>`,
	},
	{
		Name: "do not disturb, as a feature", Flavour: "phase1", Wire: "00 12 A1 10 02 01 02 02 01 0F 30 08 80 03 313030 81 01 FF",
		XML: `<SetDoNotDisturb><device>100</device><doNotDisturbOn>true</doNotDisturbOn></SetDoNotDisturb>`,
	},
	{
		Name: "forwarding asked for, as a feature", Flavour: "phase1", Wire: "00 12 A1 10 02 01 02 02 01 0C 30 08 80 03 313030 0A 01 02",
		XML: `<GetForwarding><device>100</device></GetForwarding>`,
	},
}
