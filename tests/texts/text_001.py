"""Text 001's own program: a 5-3-5-4 network, L1 and L2 on weights *and* biases, Nesterov, NumPy, as written.

The text's typesetting ran statements together and broke lines and indentation; that alone is mended.
New is only that the notebook's cells stand in a function which also returns the figures. Running this file
prints what the notebook prints; `text_001.txt` keeps it.
"""

import numpy as np  # importing NumPy


def relu(x, leak=0):  # ReLU
    return np.where(x <= 0, leak * x, x)


def relu_dash(x, leak=0):  # ReLU derivative
    return np.where(x <= 0, leak, 1)


def softmax(x):  # Softmax
    return np.exp(x) / np.sum(np.exp(x))


def softmax_dash(x):  # Softmax derivative
    I = np.eye(x.shape[0])
    return softmax(x) * (I - softmax(x).T)


def cross_E(y_true, y_pred):  # CE
    return -np.sum(y_true * np.log(y_pred + 10**-100))


def cross_E_grad(y_true, y_pred):  # CE derivative
    return -y_true / (y_pred + 10**-100)


def run():
    """Train as the text does and print its lines.

    Returns
    -------
    dict
        `losses` (epochs,), each with penalties and before its update; after training `final_loss`,
        `y_hat` (4, 1), `w1`..`w3` (units, inputs) and `b1`..`b3` (units, 1).
    """
    losses = []
    np.random.seed(42)

    input_nodes = 5  # nodes in each layer
    hidden_1_nodes = 3
    hidden_2_nodes = 5
    output_nodes = 4

    x = np.random.randint(1, 100, size=(input_nodes, 1)) / 100
    print(x)  # Inputs
    y = np.array([[0], [1], [0], [0]])
    print(y)  # Outputs

    w1 = np.random.random(size=(hidden_1_nodes, input_nodes))  # w1
    b1 = np.zeros(shape=(hidden_1_nodes, 1))  # b1

    w2 = np.random.random(size=(hidden_2_nodes, hidden_1_nodes))  # w2
    b2 = np.zeros(shape=(hidden_2_nodes, 1))  # b2

    w3 = np.random.random(size=(output_nodes, hidden_2_nodes))  # w3
    b3 = np.zeros(shape=(output_nodes, 1))  # b3

    l1 = 0.01  # L1 regularization value

    l2 = 0.01  # L2 regularization value

    in_hidden_1 = w1.dot(x) + b1  # forward feed
    out_hidden_1 = relu(in_hidden_1)

    in_hidden_2 = w2.dot(out_hidden_1) + b2
    out_hidden_2 = relu(in_hidden_2)

    in_output_layer = w3.dot(out_hidden_2) + b3
    y_hat = softmax(in_output_layer)

    print(y_hat)  # y_hat
    print(y)  # y
    print(
        cross_E(y, y_hat)
        + l1 * np.sum(abs(w3))
        + l1 * np.sum(abs(b3))
        + l2 * np.sum((w3) ** 2)
        + l2 * np.sum((b3) ** 2)
        + l1 * np.sum(abs(w2))
        + l1 * np.sum(abs(b2))
        + l2 * np.sum((w1) ** 2)
        + l2 * np.sum((b1) ** 2)
    )  # loss with penalties

    learning_rate = 0.01  # learning rate

    momentum = 0.9  # momentum

    update_w1 = np.zeros(w1.shape)  # Initializing updates with 0
    update_b1 = np.zeros(b1.shape)

    update_w2 = np.zeros(w2.shape)
    update_b2 = np.zeros(b2.shape)

    update_w3 = np.zeros(w3.shape)
    update_b3 = np.zeros(b3.shape)

    epochs = 1000

    for epoch in range(epochs):
        # ---------------------Forward Propagation---------------------------
        in_hidden_1 = w1.dot(x) + b1
        out_hidden_1 = relu(in_hidden_1)

        in_hidden_2 = w2.dot(out_hidden_1) + b2
        out_hidden_2 = relu(in_hidden_2)

        in_output_layer = w3.dot(out_hidden_2) + b3
        y_hat = softmax(in_output_layer)

        loss = (
            cross_E(y, y_hat)
            + l1 * np.sum(abs(w3))
            + l1 * np.sum(abs(b3))
            + l2 * np.sum((w3) ** 2)
            + l2 * np.sum((b3) ** 2)
            + l1 * np.sum(abs(w2))
            + l1 * np.sum(abs(b2))
            + l2 * np.sum((w1) ** 2)
            + l2 * np.sum((b1) ** 2)
        )
        losses.append(loss)

        print(f"loss before training is {loss} -- epoch number {epoch + 1}")
        print("\n")

        # --------------Gradient Calculations via Back Propagation-----------
        error_upto_softmax = np.sum(cross_E_grad(y, y_hat) * softmax_dash(in_output_layer), axis=0).reshape(
            (-1, 1)
        )

        grad_w3 = error_upto_softmax.dot(out_hidden_2.T) + l1 * (w3 / (abs(w3) + 10**-100)) + l2 * 2 * w3

        grad_b3 = error_upto_softmax + l1 * (b3 / (abs(b3) + 10**-100)) + l2 * 2 * b3

        # -----------------------------------------
        error_grad_H2 = np.sum(error_upto_softmax * w3, axis=0).reshape((-1, 1))

        grad_w2 = error_grad_H2 * relu_dash(in_hidden_2).dot(out_hidden_1.T) + l1 * (
            w2 / (abs(w2) + 10**-100)
        )

        grad_b2 = error_grad_H2 * relu_dash(in_hidden_2) + l1 * (b2 / (abs(b2) + 10**-100))

        # -----------------------------------------
        error_grad_H1 = np.sum(error_grad_H2 * relu_dash(in_hidden_2) * w2, axis=0).reshape((-1, 1))

        grad_w1 = error_grad_H1 * relu_dash(in_hidden_1).dot(x.T) + l2 * 2 * w1

        grad_b1 = error_grad_H1 * relu_dash(in_hidden_1) + l2 * 2 * b1

        # --------Updating weights and biases with SGD Momentum Nesterov-----
        update_w1 = -learning_rate * grad_w1 + momentum * update_w1
        update_w1_ = -learning_rate * grad_w1 + momentum * update_w1
        w1 += update_w1_  # w1

        update_b1 = -learning_rate * grad_b1 + momentum * update_b1
        update_b1_ = -learning_rate * grad_b1 + momentum * update_b1
        b1 += update_b1_  # b1

        update_w2 = -learning_rate * grad_w2 + momentum * update_w2
        update_w2_ = -learning_rate * grad_w2 + momentum * update_w2
        w2 += update_w2_  # w2

        update_b2 = -learning_rate * grad_b2 + momentum * update_b2
        update_b2_ = -learning_rate * grad_b2 + momentum * update_b2
        b2 += update_b2_  # b2

        update_w3 = -learning_rate * grad_w3 + momentum * update_w3
        update_w3_ = -learning_rate * grad_w3 + momentum * update_w3
        w3 += update_w3_  # w3

        update_b3 = -learning_rate * grad_b3 + momentum * update_b3
        update_b3_ = -learning_rate * grad_b3 + momentum * update_b3
        b3 += update_b3_  # b3

    in_hidden_1 = w1.dot(x) + b1  # forward feed
    out_hidden_1 = relu(in_hidden_1)

    in_hidden_2 = w2.dot(out_hidden_1) + b2
    out_hidden_2 = relu(in_hidden_2)

    in_output_layer = w3.dot(out_hidden_2) + b3
    y_hat = softmax(in_output_layer)

    print(y_hat)  # predicted values
    print(y)  # true values
    final_loss = (
        cross_E(y, y_hat)
        + l1 * np.sum(abs(w3))
        + l1 * np.sum(abs(b3))
        + l2 * np.sum((w3) ** 2)
        + l2 * np.sum((b3) ** 2)
        + l1 * np.sum(abs(w2))
        + l1 * np.sum(abs(b2))
        + l2 * np.sum((w1) ** 2)
        + l2 * np.sum((b1) ** 2)
    )
    print(final_loss)  # loss with penalties

    return {
        "losses": np.array(losses),
        "final_loss": final_loss,
        "y_hat": y_hat,
        "w1": w1,
        "b1": b1,
        "w2": w2,
        "b2": b2,
        "w3": w3,
        "b3": b3,
    }


if __name__ == "__main__":
    run()
