# What RPC::XML says to an agent, and what it hears; one JSON object on stdout.
use strict;
use warnings;
use JSON::PP;
use RPC::XML;
use RPC::XML::Client;

my $client = RPC::XML::Client->new($ARGV[0]);
my %heard;

sub text   { return RPC::XML::string->new($_[0]) }
sub number { return RPC::XML::int->new($_[0]) }

sub call {
    my ($name, $method, @arguments) = @_;
    my $answer = $client->send_request(RPC::XML::request->new($method, @arguments));
    die "no answer to $name: $answer\n" if !ref $answer;
    $heard{$name} = $answer->is_fault ? { fault => $answer->code, text => $answer->string } : { value => $answer->value };
    return;
}

call('healthcheck', 'healthcheck');
call('methods', 'system.listMethods');
call('help', 'system.methodHelp', text('cmd_submit_reading'));
call('text, array', 'cmd_submit_reading', text('text-1'), text('echo'), RPC::XML::array->new(text('1.5')));
call('text, string', 'cmd_submit_reading', text('007'), text('echo'), text("'2'"));
call('int, array', 'cmd_submit_reading', number(42), text('echo'), RPC::XML::array->new(number(3), RPC::XML::double->new(4.5)));
call('int, string', 'cmd_submit_reading', number(43), text('echo'), text('4'));
call('no sensor', 'cmd_submit_reading', number(44), text('no-such-sensor'));
call('no method', 'cmd_fly');
call('multicall', 'system.multicall', RPC::XML::array->new(
    RPC::XML::struct->new(methodName => text('cmd_submit_reading'),
        params => RPC::XML::array->new(text('m-1'), text('echo'), RPC::XML::array->new(number(5)))),
    RPC::XML::struct->new(methodName => text('cmd_fly'), params => RPC::XML::array->new()),
    RPC::XML::struct->new(methodName => text('cmd_submit_reading'),
        params => RPC::XML::array->new(number(77), text('echo'), RPC::XML::array->new(number(6)))),
));
print JSON::PP->new->canonical->encode(\%heard);
