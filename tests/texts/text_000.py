"""Text 000's own program: one sigmoid neuron with L2, pure Python, as written.

The statements are the text's. New is only that the loop stands in a function which also returns its figures.
Running this file prints the text's ten lines; `text_000.txt` keeps them.
"""

import math


# Sigmoid activation
def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# Derivative of sigmoid
def sigmoid_derivative(x):
    sx = sigmoid(x)
    return sx * (1 - sx)


# Loss with L2 Regularization (squared weights penalty)
def compute_loss(y_true, y_pred, weights, lambda_reg=0.0):
    mse = (y_true - y_pred) ** 2
    reg_term = lambda_reg * sum([w**2 for w in weights])
    return mse + reg_term


def run():
    """Train and print as the text does; return per epoch loss, prediction, new weights, new bias."""
    figures = []

    # Mini training loop
    inputs = [0.5, 1.5]
    target = 1
    weights = [0.2, -0.4]  # Initial weights
    bias = 0.1
    learning_rate = 0.1
    lambda_reg = 0.1  # Regularization strength

    for epoch in range(10):
        # Weighted sum
        z = sum(i * w for i, w in zip(inputs, weights)) + bias
        # Activation
        pred = sigmoid(z)
        # Loss
        loss = compute_loss(target, pred, weights, lambda_reg)

        # Gradients
        dloss_dpred = -2 * (target - pred)
        dpred_dz = sigmoid_derivative(z)

        dz_dw = [i for i in inputs]
        dz_db = 1

        # Update weights with L2 regularization
        for i in range(len(weights)):
            grad = dloss_dpred * dpred_dz * dz_dw[i] + lambda_reg * weights[i]
            weights[i] -= learning_rate * grad

        # Update bias (no regularization applied to bias here)
        bias -= learning_rate * (dloss_dpred * dpred_dz * dz_db)

        print(f"Epoch {epoch + 1}: Loss={loss:.4f}, Pred={pred:.4f}, Weights={weights}")
        figures.append((loss, pred, tuple(weights), bias))
    return figures


if __name__ == "__main__":
    run()
