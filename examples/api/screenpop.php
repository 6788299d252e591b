<?php
// Prints who calls a telephone, as soon as it rings.
//
//     php screenpop.php 101
//
// TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
// The file screenpop-101.position has the last event that was handled: after a restart, calls that came meanwhile are
// printed, too. It needs PHP 8, and no packages.
declare(strict_types=1);

const SILENCE = 75; // seconds; the proxy sends a heartbeat every 30

// events yields the events of a stream, until it ends.
function events(string $device, string $after): Generator
{
    $query = ['devices' => $device, 'types' => 'delivered,snapshot', 'snapshot' => 'true'] + ($after === '' ? [] : ['after' => $after]);
    $token = getenv('TR87_TOKEN');
    $context = stream_context_create(['http' => [
        'header' => $token ? ["Authorization: Bearer $token"] : [], 'ignore_errors' => true, 'timeout' => SILENCE, 'follow_location' => 0,
        'protocol_version' => '1.0', // with chunks, PHP would hold events back until it has 8 KiB of them
    ]]);
    $stream = @fopen((getenv('TR87_URL') ?: 'http://127.0.0.1:8880') . '/v1/events?' . http_build_query($query), 'r', false, $context);
    if ($stream === false) {
        throw new RuntimeException(error_get_last()['message'] ?? 'no connection');
    }
    try {
        $status = (int) explode(' ', stream_get_meta_data($stream)['wrapper_data'][0])[1];
        if ($status !== 200) {
            $text = stream_get_contents($stream);
            $problem = json_decode($text, true)['detail'] ?? $text;
            if ($status < 500 && $status !== 429) { // it would be the same the next time
                fwrite(STDERR, "$problem\n");
                exit(1);
            }
            throw new RuntimeException($problem);
        }
        while (($line = fgets($stream)) !== false) {
            if (str_starts_with($line, 'data: ')) {
                yield json_decode(substr($line, 6), true, flags: JSON_THROW_ON_ERROR);
            }
        }
    } finally {
        fclose($stream);
    }
}

function show(array $call, string $device): void
{
    echo $call['caller'] ?? 'somebody', " calls $device\n";
}

function handle(array $event, string $device): void
{
    if ($event['type'] === 'delivered' && ($event['state'] ?? '') === 'alerting') {
        show($event, $device);
    } elseif ($event['type'] === 'snapshot') { // the calls that there are, at the beginning and after a gap
        foreach ($event['calls'] as $call) {
            if ($call['state'] === 'alerting') {
                show($call, $device);
            }
        }
    } elseif ($event['type'] === 'gap') {
        fwrite(STDERR, "events are missing: {$event['reason']}\n");
    }
}

if ($argc !== 2) {
    fwrite(STDERR, "usage: php screenpop.php DEVICE\n");
    exit(1);
}
$device = $argv[1];
$file = "screenpop-$device.position";
$after = is_file($file) ? trim(file_get_contents($file)) : '';
while (true) {
    try {
        foreach (events($device, $after) as $event) {
            handle($event, $device);
            if ($event['id'] !== $after) { // only now: an event that was not handled comes again
                $after = $event['id'];
                file_put_contents("$file.new", $after);
                rename("$file.new", $file);
            }
        }
    } catch (RuntimeException | JsonException $problem) {
        fwrite(STDERR, "no events: {$problem->getMessage()}\n");
    }
    sleep(2);
}
