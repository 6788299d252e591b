// A client of CSTA over SOAP with gSOAP: client URL PASSWORD. Its classes are made from a part of the description; gSOAP puts
// all ports into one.

#include "soapCallControlBindingProxy.h"
#include "CallControlBinding.nsmap"
#include <cstdlib>
#include <iostream>

static CallControlBindingProxy proxy;

static CallControlBindingProxy &login(char **argv) { // gSOAP forgets the password after each call
	proxy.soap_endpoint = argv[1];
	proxy.soap->userid = "crm";
	proxy.soap->passwd = argv[2];
	return proxy;
}

static void check(bool holds, const char *what) {
	if (holds)
		return;
	std::cerr << what << ": ";
	proxy.soap_stream_fault(std::cerr);
	exit(1);
}

int main(int, char **argv) {
	csta__DeviceID watched, caller;
	watched.__item = "1001";
	caller.__item = "1000";
	csta__MonitorObject object;
	object.__union_MonitorObject = SOAP_UNION__csta__union_MonitorObject_deviceObject;
	object.union_MonitorObject.deviceObject = &watched;
	csta__MonitorStart start;
	start.monitorObject = &object;
	csta__MonitorStartResponse started;
	check(login(argv).MonitorStart(&start, started) == SOAP_OK, "MonitorStart");

	csta__MakeCall make;
	make.callingDevice = &caller;
	make.calledDirectoryNumber = &watched;
	csta__AutoOriginate now = csta__AutoOriginate__doNotPrompt;
	make.autoOriginate = &now;
	csta__MakeCallResponse made;
	check(login(argv).MakeCall(&make, made) == SOAP_OK, "MakeCall");

	_own__GetEvents get;
	LONG64 handled = 0;
	get.acknowledge = &handled;
	_own__GetEventsResponse got;
	for (bool delivered = false; !delivered;) {
		check(login(argv).GetEvents(&get, got) == SOAP_OK, "GetEvents");
		for (auto *entry : got.event) {
			handled = entry->number;
			delivered |= entry->__union_EventEntry == SOAP_UNION__own__union_EventEntry_csta__DeliveredEvent_;
		}
	}

	csta__ConnectionID connection;
	connection.callID = made.callingDevice->callID;
	connection.deviceID = &watched;
	csta__AnswerCall answer;
	answer.callToBeAnswered = &connection;
	csta__AnswerCallResponse answered;
	check(login(argv).AnswerCall(&answer, answered) == SOAP_OK, "AnswerCall");
	csta__HoldCall hold;
	hold.callToBeHeld = &connection;
	csta__HoldCallResponse held;
	check(login(argv).HoldCall(&hold, held) == SOAP_OK, "HoldCall");

	check(login(argv).AnswerCall(&answer, answered) != SOAP_OK, "no fault");
	check(proxy.soap->fault && proxy.soap->fault->detail && std::string(proxy.soap_fault_string()).find("stateIncompatibility/") == 0, "another fault");
	std::cout << "done" << std::endl;
}
