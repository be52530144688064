"""A recurrent net from scratch: the program of docs/from-scratch.md, block by block."""

import numpy as np

generator = np.random.default_rng(0)


def draw(rows, columns):
    return generator.normal(0, 1 / np.sqrt(rows), (rows, columns))


def new_net(V, M):
    return {"Wx": draw(V, M), "Wh": draw(M, M), "b": np.zeros(M), "Wo": draw(M, V), "bo": np.zeros(V)}


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)  # the greatest is 0, so exp cannot overflow
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def forward(net, inputs, h):
    """The states before and after each of T tokens, (T + 1, M), and log-probabilities of the next token, (T, V)."""
    states = [h]
    for token in inputs:
        states.append(np.tanh(net["Wx"][token] + states[-1] @ net["Wh"] + net["b"]))
    return np.array(states), log_softmax(np.array(states[1:]) @ net["Wo"] + net["bo"])


def loss_of(log_probs, targets):
    return -log_probs[np.arange(len(targets)), targets].mean()


text = """the gate stood open and the field was white
the field was open and the night was near
the night came over and the gate was shut
"""
tokens = sorted(set(text))
ids = np.array([tokens.index(sign) for sign in text])
inputs, targets = ids[:-1], ids[1:]
net = new_net(len(tokens), 32)
states, log_probs = forward(net, inputs, np.zeros(32))
print(f"{len(inputs)} predictions, {len(tokens)} different tokens: guessing costs {np.log(len(tokens)):.2f} nats")
print(f"the untrained net: {loss_of(log_probs, targets):.2f} nats")


def backward(net, inputs, targets, states, log_probs):
    """The gradient of the loss with respect to each weight."""
    T = len(inputs)
    d_logits = np.exp(log_probs)
    d_logits[np.arange(T), targets] -= 1
    d_logits /= T
    grads = {name: np.zeros_like(weight) for name, weight in net.items()}
    grads["Wo"], grads["bo"] = states[1:].T @ d_logits, d_logits.sum(0)
    d_output = d_logits @ net["Wo"].T
    d_h = np.zeros_like(states[0])
    for t in reversed(range(T)):
        d_a = (d_output[t] + d_h) * (1 - states[t + 1] ** 2)  # tanh' = 1 - tanh²
        grads["Wx"][inputs[t]] += d_a
        grads["Wh"] += np.outer(states[t], d_a)
        grads["b"] += d_a
        d_h = d_a @ net["Wh"].T
    return grads


def largest_error(loss, weights, grads, step=1e-5):
    """The largest difference between gradients and central differences of a loss."""
    worst = 0.0
    for name, weight in weights.items():
        for place in np.ndindex(weight.shape):
            before = weight[place]
            weight[place] = before + step
            above = loss()
            weight[place] = before - step
            below = loss()
            weight[place] = before
            worst = max(worst, abs((above - below) / (2 * step) - grads[name][place]))
    return worst


small, line = new_net(5, 4), np.array([0, 3, 1, 4, 4, 2, 0])
h0 = generator.normal(size=4)
grads = backward(small, line[:-1], line[1:], *forward(small, line[:-1], h0))
error = largest_error(lambda: loss_of(forward(small, line[:-1], h0)[1], line[1:]), small, grads)
print(f"{sum(weight.size for weight in small.values())} weights, each error below 1e-9: {error < 1e-9}")


def train(net, window, epochs, rate=0.01, limit=2.0):
    """Truncated backpropagation through time; returns the mean loss of the last epoch."""
    for _ in range(epochs):
        h, total = np.zeros(len(net["b"])), 0.0
        for begin in range(0, len(inputs), window):
            x, y = inputs[begin : begin + window], targets[begin : begin + window]
            states, log_probs = forward(net, x, h)
            grads = backward(net, x, y, states, log_probs)
            norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
            for name, grad in grads.items():
                net[name] -= rate * len(x) * min(1.0, limit / norm) * grad
            h, total = states[-1], total + loss_of(log_probs, y) * len(x)
    return total / len(inputs)


for window in (1, 4, 16):
    generator = np.random.default_rng(1)
    net = new_net(len(tokens), 32)
    bits = train(net, window, epochs=60) / np.log(2)
    print(f"windows of {window:>2} steps: {bits:.2f} bits per character")


def write(net, begin, length, temperature=1.0):
    """Continue a text by `length` tokens."""
    text, unread, h = begin, begin, np.zeros(len(net["b"]))
    for _ in range(length):
        states, log_probs = forward(net, [tokens.index(sign) for sign in unread], h)
        probs = np.exp(log_softmax(log_probs[-1] / temperature))
        h, unread = states[-1], str(generator.choice(tokens, p=probs))
        text += unread
    return text


print(write(net, "the gate", 35, temperature=0.5))
print(write(net, "the gate", 35, temperature=2.0))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru_step(net, x, h):
    """A step of a GRU, and what its backward step needs."""
    M = len(h)
    a = x @ net["Wx"] + net["b"]
    r, z = np.split(sigmoid(a[: 2 * M] + h @ net["Wh"][:, : 2 * M]), 2)
    candidate = np.tanh(a[2 * M :] + (r * h) @ net["Wh"][:, 2 * M :])
    return (1 - z) * h + z * candidate, (x, h, r, z, candidate)


def gru_back(net, kept, d_h):
    """From the gradient of the new state: those of x, of the old state, and of the weights."""
    x, h, r, z, candidate = kept
    M = len(h)
    d_candidate = d_h * z * (1 - candidate**2)
    d_reset_h = d_candidate @ net["Wh"][:, 2 * M :].T
    d_gates = np.concatenate([d_reset_h * h * r * (1 - r), d_h * (candidate - h) * z * (1 - z)])
    d_old = d_h * (1 - z) + d_reset_h * r + d_gates @ net["Wh"][:, : 2 * M].T
    d_a = np.concatenate([d_gates, d_candidate])
    d_Wh = np.concatenate([np.outer(h, d_gates), np.outer(r * h, d_candidate)], axis=1)
    return d_a @ net["Wx"].T, d_old, {"Wx": np.outer(x, d_a), "Wh": d_Wh, "b": d_a}


def lstm_step(net, x, h, c):
    """A step of an LSTM, and what its backward step needs."""
    i, f, candidate, o = np.split(x @ net["Wx"] + h @ net["Wh"] + net["b"], 4)
    i, f, candidate, o = sigmoid(i), sigmoid(f), np.tanh(candidate), sigmoid(o)
    new_c = f * c + i * candidate
    return o * np.tanh(new_c), new_c, (x, h, c, i, f, candidate, o, new_c)


def lstm_back(net, kept, d_h, d_c):
    """From the gradients of the new h and c: those of x, of the old h and c, and of the weights."""
    x, h, c, i, f, candidate, o, new_c = kept
    d_new_c = d_c + d_h * o * (1 - np.tanh(new_c) ** 2)
    d_i, d_f = d_new_c * candidate * i * (1 - i), d_new_c * c * f * (1 - f)
    d_candidate, d_o = d_new_c * i * (1 - candidate**2), d_h * np.tanh(new_c) * o * (1 - o)
    d_a = np.concatenate([d_i, d_f, d_candidate, d_o])
    grads = {"Wx": np.outer(x, d_a), "Wh": np.outer(h, d_a), "b": d_a}
    return d_a @ net["Wx"].T, d_a @ net["Wh"].T, d_new_c * f, grads


def peephole_step(net, x, h, c):
    """A step of an LSTM with peepholes, and what its backward step needs."""
    i, f, candidate, o = np.split(x @ net["Wx"] + h @ net["Wh"] + net["b"], 4)
    i, f = np.split(sigmoid(np.concatenate([i, f]) + c @ net["Wc"]), 2)
    candidate = np.tanh(candidate)
    new_c = f * c + i * candidate
    o = sigmoid(o + new_c @ net["Wco"])
    return o * np.tanh(new_c), new_c, (x, h, c, i, f, candidate, o, new_c)


def peephole_back(net, kept, d_h, d_c):
    """From the gradients of the new h and c: those of x, of the old h and c, and of the weights."""
    x, h, c, i, f, candidate, o, new_c = kept
    d_o = d_h * np.tanh(new_c) * o * (1 - o)
    d_new_c = d_c + d_h * o * (1 - np.tanh(new_c) ** 2) + d_o @ net["Wco"].T
    d_gates = np.concatenate([d_new_c * candidate * i * (1 - i), d_new_c * c * f * (1 - f)])
    d_a = np.concatenate([d_gates, d_new_c * i * (1 - candidate**2), d_o])
    grads = {"Wx": np.outer(x, d_a), "Wh": np.outer(h, d_a), "b": d_a}
    grads |= {"Wc": np.outer(c, d_gates), "Wco": np.outer(new_c, d_o)}
    return d_a @ net["Wx"].T, d_a @ net["Wh"].T, d_new_c * f + d_gates @ net["Wc"].T, grads


x, h, c, h_weights, c_weights = generator.normal(size=(5, 4))
gru = {"Wx": draw(4, 12), "Wh": draw(4, 12), "b": generator.normal(size=12)}
d_x, d_h, grads = gru_back(gru, gru_step(gru, x, h)[1], h_weights)
weights, slopes = {**gru, "x": x, "h": h}, {**grads, "x": d_x, "h": d_h}
error = largest_error(lambda: gru_step(gru, x, h)[0] @ h_weights, weights, slopes)
print(f"GRU: each error below 1e-9: {error < 1e-9}")


def check_lstm(net, step, step_back):
    def loss():
        new_h, new_c, _ = step(net, x, h, c)
        return new_h @ h_weights + new_c @ c_weights

    d_x, d_h, d_c, grads = step_back(net, step(net, x, h, c)[2], h_weights, c_weights)
    weights, slopes = {**net, "x": x, "h": h, "c": c}, {**grads, "x": d_x, "h": d_h, "c": d_c}
    return largest_error(loss, weights, slopes) < 1e-9


lstm = {"Wx": draw(4, 16), "Wh": draw(4, 16), "b": generator.normal(size=16)}
print(f"LSTM: each error below 1e-9: {check_lstm(lstm, lstm_step, lstm_back)}")
lstm |= {"Wc": draw(4, 8), "Wco": draw(4, 4)}
print(f"LSTM with peepholes: each error below 1e-9: {check_lstm(lstm, peephole_step, peephole_back)}")
